package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/internal/bench"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// benchFlags of bench commit.
type benchFlags struct {
	writers, pages, pageSize int
	seconds, warmUp          float64
	volume                   string
	volumeSize               sizeFlag
	acks                     string
	in                       string
}

const benchLong = `Measure what commits cost here, beside what the disk itself costs.

N writers commit transactions of P random pages each to a volume that is filled
first. In the same run, in alternating slices, the same writers hand the same
bytes to two plain files that are written and synced in groups in the same way:
one that grows, and one whose space was written before. The ratio to these two
floors is a figure of the engine; the rest is the disk's.

Without --dir the store is a temporary one and is removed afterwards. With
--dir the store is made if there is none, and is left; its volume named by
--volume is overwritten. QUIRE_DIR is not looked at. With --acks a line
"LSN TXN-UUID" is appended to FILE after each acknowledgement: kill the process
whenever you like, open the store, and compare with "txnctl log".`

const benchExample = `  txnctl bench commit --writers 64 --pages 1 --seconds 30
  txnctl bench commit --writers 8 --pages 16 --volume-size 1GiB --json
  txnctl bench commit --dir /mnt/disk/store --writers 8 --acks acks.txt`

// newBenchCommand is bench and what is below it.
func newBenchCommand(a *app) *cobra.Command {
	return group(&cobra.Command{Use: "bench", Short: "Measure the engine on this disk"}, newBenchCommitCommand(a))
}

func newBenchCommitCommand(a *app) *cobra.Command {
	f := benchFlags{volumeSize: 256 << 20}
	cmd := &cobra.Command{
		Use:     "commit",
		Short:   "Measure commits of random pages against the floors of the disk",
		Long:    benchLong,
		Example: benchExample,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.benchCommit(cmd, f) },
	}
	flags := cmd.Flags()
	flags.IntVar(&f.writers, "writers", 8, "writers that commit at the same time")
	flags.IntVar(&f.pages, "pages", 1, "random pages of each transaction")
	flags.IntVar(&f.pageSize, "page-size", wal.DefaultPageSize, "bytes of a page")
	flags.Float64Var(&f.seconds, "seconds", 10, "of measuring the engine; each floor has half of it besides")
	flags.Float64Var(&f.warmUp, "warm-up", 2, "seconds before measuring")
	flags.Var(&f.volumeSize, "volume-size", "size of the volume, filled before measuring")
	flags.StringVar(&f.volume, "volume", "bench", "name of the volume; with --dir it is overwritten")
	flags.StringVar(&f.acks, "acks", "", "append LSN and transaction ID to this `FILE` after each acknowledgement")
	flags.StringVar(&f.in, "in", os.TempDir(), "directory for a temporary store; its disk is measured")
	return cmd
}

func (a *app) benchCommit(cmd *cobra.Command, f benchFlags) error {
	c := f.config()
	done, err := a.place(cmd, f, &c)
	if err != nil {
		return err
	}
	shown := a.steps()
	c.Progress = func(step string, done, total uint64) { shown.at(step, int64(done), int64(total)) }
	res, err := bench.Run(cmd.Context(), c)
	shown.end()
	switch err = errors.Join(err, done()); {
	case errors.Is(err, bench.ErrConfig):
		return usageError(err.Error())
	case err != nil:
		return err
	}
	return a.print(res, func(w io.Writer) { printBench(w, a.bold, res) })
}

func (f benchFlags) config() bench.Config {
	return bench.Config{
		Volume: f.volume, Writers: f.writers, Pages: f.pages, PageSize: f.pageSize, VolumeBytes: int64(f.volumeSize),
		Measure: seconds(f.seconds), WarmUp: seconds(f.warmUp),
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// place decides where the store and the floors' files are, and returns what
// ends their use.
func (a *app) place(cmd *cobra.Command, f benchFlags, c *bench.Config) (done func() error, err error) {
	parent := f.in
	if cmd.Flags().Changed("dir") {
		c.Store = a.dir
		parent = filepath.Dir(filepath.Clean(c.Store))
	}
	if c.Dir, err = os.MkdirTemp(parent, "quire-bench-"); err != nil {
		return nil, err
	}
	remove := func() error { return os.RemoveAll(c.Dir) }
	if c.Store == "" {
		c.Store = filepath.Join(c.Dir, "store")
		if f.acks != "" { // whoever wants to check needs the store
			remove = func() error { return nil }
		}
	}
	if f.acks == "" {
		return remove, nil
	}
	acks, err := os.OpenFile(f.acks, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.Dir))
	}
	a.note("The store is %s.", c.Store)
	c.Ack = func(c txn.Commit) error {
		_, err := fmt.Fprintf(acks, "%d %s\n", c.Position.LSN, c.Txn) // one write, so no half lines
		return err
	}
	return func() error { return errors.Join(acks.Close(), remove()) }, nil
}
