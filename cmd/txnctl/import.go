package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/backup"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// importOutput is what import prints.
type importOutput struct {
	Volume  string `json:"volume" doc:"name of the volume"`
	ID      string `json:"id" doc:"UUID of the volume"`
	LSN     uint64 `json:"lsn" doc:"of the transaction; of the newest entry when nothing differed"`
	Txn     string `json:"txn" doc:"UUID of the transaction; empty when nothing differed"`
	Changed bool   `json:"changed" doc:"whether anything differed and was committed"`
	Created bool   `json:"created" doc:"whether the volume is new"`
	Bytes   int64  `json:"bytes" doc:"length of the file"`
	Pages   uint64 `json:"pages" doc:"that the file needs"`
	Written uint64 `json:"written" doc:"of those, how many differed and were committed"`
	Dropped uint64 `json:"dropped" doc:"pages that the volume had behind the file's end"`
}

// importer is one run of import.
type importer struct {
	*app
	name, file string
	pageSize   uint32
	message    string
	expect     lsnFlag
}

func newImportCommand(a *app) *cobra.Command {
	im := &importer{app: a}
	c := &cobra.Command{
		Use:   "import VOLUME FILE",
		Short: "Make a file the content of a volume",
		Long: `Make FILE, or standard input when it is "-", the content of VOLUME, which is
made when there is none. It is one transaction: all of it or, on any error,
nothing.

Of a newer version of a file only the pages that differ are committed; when
nothing differs, nothing is. The last page is padded with zeros; the exact
length is kept beside it, so that export gives back the identical file.

With --expect LSN the import is a conflict (exit code 5) unless the volume was
last changed by the entry with that LSN, as stat shows it: nobody's work in
between is overwritten.`,
		Example: `  txnctl import notes notes.txt
  pg_dump app | txnctl import app.sql -
  txnctl import disk disk.img --page-size 65536
  txnctl import notes notes.txt --expect 7`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeVolume,
		RunE: func(c *cobra.Command, args []string) error {
			im.name, im.file = args[0], args[1]
			return im.run(c.Context())
		},
	}
	c.Flags().Uint32Var(&im.pageSize, "page-size", 0, "`BYTES` of new volumes' pages: a power of two, 512 to 65536 (default 4096)")
	c.Flags().StringVar(&im.message, "message", "", "write `TEXT` into the entry, for readers of the log (default \"import FILE\")")
	c.Flags().Var(&im.expect, "expect", "a conflict unless the entry with this `LSN` changed the volume last")
	return c
}

const (
	importTimeout = 7 * 24 * time.Hour // of the transaction: pipes may be slow
	importBytes   = 1 << 44            // the most that one import may write
)

func (im *importer) run(ctx context.Context) error {
	if err := im.check(); err != nil {
		return err
	}
	file, size, err := im.open()
	if err != nil {
		return err
	}
	defer file.Close()
	var out importOutput
	err = im.withStore(txn.Options{MaxTxBytes: importBytes}, func(m *txn.Manager, _ *recovery.Report) error {
		if err := im.checkExpected(); err != nil {
			return err
		}
		bar := im.progress("import "+im.name, size)
		defer bar.end()
		var err error
		out, err = im.commit(ctx, m, io.TeeReader(file, bar))
		return err
	})
	if err != nil {
		return err
	}
	return im.print(out, out.text)
}

// check finds mistakes before anything is opened.
func (im *importer) check() error {
	if err := wal.ValidName(im.name); err != nil {
		return usagef("%v", err)
	}
	if im.name == backup.LengthsVolume {
		return usagef("volume %q keeps the lengths of files; choose another name", im.name)
	}
	if im.pageSize != 0 && !wal.ValidPageSize(im.pageSize) {
		return usagef("--page-size %d is not a power of two from %d to %d", im.pageSize, wal.MinPageSize, wal.MaxPageSize)
	}
	return nil
}

// open opens the file; size is unknownTotal when it cannot be known.
func (im *importer) open() (file io.ReadCloser, size int64, err error) {
	if im.file == "-" {
		return io.NopCloser(im.in), unknownTotal, nil
	}
	f, err := os.Open(im.file)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && st.IsDir() {
		err = fmt.Errorf("%s is a directory; import takes one file", im.file)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	if !st.Mode().IsRegular() {
		return f, unknownTotal, nil
	}
	return f, st.Size(), nil
}

// checkExpected compares the volume's last change with --expect. The store is
// locked by us, so it stays as it is.
func (im *importer) checkExpected() error {
	if im.expect == 0 {
		return nil
	}
	return im.withView(0, func(v *recovery.Viewed) error {
		vol, err := findVolume(v.Snapshot(), im.name)
		if err == nil && vol.Changed != wal.LSN(im.expect) {
			err = conflictError(fmt.Sprintf("conflict: volume %q was last changed by LSN %d, not %d; nothing was written, look at what it holds now",
				im.name, vol.Changed, wal.LSN(im.expect)))
		}
		return err
	})
}

// commit is the transaction.
func (im *importer) commit(ctx context.Context, m *txn.Manager, file io.Reader) (out importOutput, err error) {
	if im.message == "" {
		im.message = "import " + im.file
	}
	tx, err := m.Begin(ctx, txn.TxOptions{Timeout: importTimeout, Message: im.message})
	if err != nil {
		return out, err
	}
	defer tx.Rollback()
	v, created, err := im.volume(tx)
	if err != nil {
		return out, err
	}
	diff, err := backup.Changed(ctx, v, file, v.WritePage)
	if err != nil {
		return out, err
	}
	if diff.Pages != diff.Before {
		if err := v.Truncate(diff.Pages); err != nil {
			return out, err
		}
	}
	if err := keepLength(tx, v, diff.Length); err != nil {
		return out, err
	}
	c, err := tx.Commit(ctx)
	if err != nil {
		return out, err
	}
	return im.output(v, created, diff, c), nil
}

// volume finds or makes the volume.
func (im *importer) volume(tx *txn.Tx) (v *txn.Volume, created bool, err error) {
	v, err = tx.Volume(im.name)
	if errors.Is(err, txn.ErrNoVolume) {
		v, err = tx.CreateVolume(im.name, txn.VolumeOptions{PageSize: im.pageSize})
		return v, true, err
	}
	if err == nil && im.pageSize != 0 && v.PageSize() != int(im.pageSize) {
		err = fmt.Errorf("volume %q has pages of %d bytes; --page-size is for new volumes", im.name, v.PageSize())
	}
	return v, false, err
}

// keepLength records the exact length of the file in v, if it needs to be.
func keepLength(tx *txn.Tx, v *txn.Volume, length int64) error {
	return keepLengthOf(tx, v.ID(), int64(v.PageSize()), length)
}

// keepLengthOf records it for what has an id of its own (backup.LengthID).
func keepLengthOf(tx *txn.Tx, id wal.VolumeID, pageSize, length int64) error {
	lengths, err := tx.Volume(backup.LengthsVolume)
	whole := length%pageSize == 0
	if errors.Is(err, txn.ErrNoVolume) {
		if whole {
			return nil
		}
		lengths, err = makeLengths(tx)
	}
	if err != nil {
		return err
	}
	page, known, found, err := backup.FindLength(lengths.ReadPage, id)
	if err != nil || found && known == length || !found && whole {
		return err
	}
	return lengths.WritePage(page, backup.EncodeLength(id, length))
}

func makeLengths(tx *txn.Tx) (*txn.Volume, error) {
	v, err := tx.CreateVolume(backup.LengthsVolume, txn.VolumeOptions{PageSize: backup.LengthsPageSize})
	if err != nil {
		return nil, err
	}
	return v, v.Truncate(backup.LengthsPages)
}

func (im *importer) output(v *txn.Volume, created bool, diff backup.Comparison, c txn.Commit) importOutput {
	out := importOutput{
		Volume: v.Name(), ID: v.ID().String(), LSN: uint64(c.Position.LSN), Changed: !c.Empty, Created: created,
		Bytes: diff.Length, Pages: diff.Pages, Written: diff.Changed, Dropped: diff.Before - min(diff.Before, diff.Pages),
	}
	if !c.Empty {
		out.Txn = c.Txn.String()
	}
	return out
}

func (o importOutput) text(w io.Writer) {
	if !o.Changed {
		fmt.Fprintf(w, "Nothing differs: %s holds these %s already.\n", o.Volume, bytesText(o.Bytes))
		return
	}
	fmt.Fprintf(w, "Committed as LSN %d: %s, %s; %d of %s written", o.LSN, o.Volume, bytesText(o.Bytes), o.Written, count(o.Pages, "page"))
	if o.Dropped > 0 {
		fmt.Fprintf(w, ", %d dropped", o.Dropped)
	}
	fmt.Fprintln(w, ".")
}
