package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/internal/demo"
)

// demoFlags of demo.
type demoFlags struct {
	writers int
	seconds float64
	size    sizeFlag
	in      string
	keep    bool
}

const demoLong = `Show the main job on a temporary store in about fifteen seconds.

Imports real files (those below DIR, or the sources of the Go standard library),
commits from several writers in a child process, kills the child with SIGKILL
while commits are in flight, recovers, and proves two things: every commit that
was acknowledged is there, and nothing else is. Then all of the store is
verified.

Then backs it up while several write, has an accident (a volume is deleted),
restores to one second before it, and proves that this is what the store was:
by the sums of all volumes, and page by page. To spare you the wait the store's
clock runs 20 times as fast in this part.

Nothing outside the temporary directory is written.

Exit code 0 means proven, 1 not proven or failed, 3 corruption found.`

const demoExample = `  txnctl demo
  txnctl demo ~/src/project --writers 32 --seconds 5
  txnctl demo --keep --json`

// newDemoCommand is demo and, hidden, its child.
func newDemoCommand(a *app) *cobra.Command {
	f := demoFlags{size: 128 << 20}
	cmd := &cobra.Command{
		Use:     "demo [DIR]",
		Short:   "Import, commit, kill, recover, back up, restore, prove: the main job",
		Long:    demoLong,
		Example: demoExample,
		Args:    cobra.MaximumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.demo(cmd, f, args) },
	}
	flags := cmd.Flags()
	flags.IntVar(&f.writers, "writers", 8, "writers of the child process")
	flags.Float64Var(&f.seconds, "seconds", 2.5, "how long the child commits before it is killed")
	flags.Var(&f.size, "size", "how much is imported at most")
	flags.StringVar(&f.in, "in", os.TempDir(), "directory for the temporary store")
	flags.BoolVar(&f.keep, "keep", false, "leave the stores, the archive and what the child acknowledged")
	cmd.AddCommand(&cobra.Command{
		Use: demoChild + " DIR", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return demo.Work(cmd.Context(), args[0], cmd.InOrStdin())
		},
	})
	return cmd
}

// demoChild is the hidden command that the child process runs.
const demoChild = "commit-until-killed"

func (a *app) demo(cmd *cobra.Command, f demoFlags, args []string) error {
	c, err := f.config(args)
	if err != nil {
		return err
	}
	if c.Dir, err = os.MkdirTemp(f.in, "quire-demo-"); err != nil {
		return err
	}
	if !f.keep {
		defer os.RemoveAll(c.Dir)
	}
	shown := a.steps()
	defer shown.end()
	c.Progress = shown.at
	if !a.json {
		fmt.Fprintf(a.out, "A store in %s, made for this.\n\n", c.Dir)
		c.Step = func(name string, r *demo.Report) { shown.end(); printStep(a.out, a.bold, name, r) }
	}
	r, err := demo.Run(cmd.Context(), c)
	shown.end()
	switch {
	case err != nil && a.json: // what is known, and what is wrong on stderr
		return errors.Join(err, a.print(r, nil))
	case err != nil:
		return err
	}
	return a.print(r, func(w io.Writer) { printProof(w, a.bold, r, c.Dir, f.keep) })
}

func (f demoFlags) config(args []string) (c demo.Config, err error) {
	switch {
	case f.writers < 1 || f.writers > 1024:
		return c, usagef("--writers is %d, want 1 to 1024", f.writers)
	case f.seconds < 0.1 || f.seconds > 3600:
		return c, usagef("--seconds is %v, want 0.1 to 3600", f.seconds)
	}
	c.Bytes, c.Writers, c.Commit, c.Seed, c.Child = int64(f.size), f.writers, seconds(f.seconds), rand.Uint64(), childOf
	if len(args) == 1 {
		c.Root = args[0]
		return c, nil
	}
	c.Root, err = standardLibrary()
	return c, err
}

// childOf runs this program again.
func childOf(dir string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	child := exec.Command(self, "demo", demoChild, dir)
	child.Args[0] = os.Args[0] // what it was called by
	return child
}

// standardLibrary is where the Go toolchain keeps its sources.
func standardLibrary() (string, error) {
	roots := []string{os.Getenv("GOROOT"), "/usr/local/go"}
	if out, err := exec.Command("go", "env", "GOROOT").Output(); err == nil {
		roots = append([]string{strings.TrimSpace(string(out))}, roots...)
	}
	for _, root := range roots {
		src := filepath.Join(root, "src")
		if info, err := os.Stat(filepath.Join(src, "fmt")); root != "" && err == nil && info.IsDir() {
			return src, nil
		}
	}
	return "", errors.New("the Go standard library's sources are not here; name a directory of files to import")
}
