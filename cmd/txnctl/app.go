package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/quire-db/quire/internal/vfs"
)

// app is what all commands share: the streams and the flags of the root.
type app struct {
	in    io.Reader
	out   *output
	err   *os.File
	fs    vfs.FS
	dir   string // --dir
	json  bool   // --json
	began bool   // a command was understood and runs: errors are not of usage any more
	bold  style  // for headings on out
	red   style  // for bad news on out
}

func newApp(in io.Reader, out, err *os.File) *app {
	a := &app{in: in, out: &output{w: out}, err: err, fs: vfs.OS()}
	if coloured(out) {
		a.bold, a.red = "1", "31"
	}
	return a
}

// run is the whole program; it returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = a.out.err
	}
	code := a.exitCode(err)
	if err != nil && !errors.Is(err, errReported) {
		a.complain(err, code, c.CommandPath())
	}
	return code
}

// Groups of commands in the help of the root.
const (
	groupFiles = "files"
	groupLook  = "look"
	groupCare  = "care"
	groupTry   = "try"
)

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "txnctl",
		Short: "Make, fill, read and check Quire stores",
		Long: `txnctl makes, fills, reads and checks Quire stores.

A store is a directory with many volumes, which are arrays of pages, and one
log, in which every transaction is an entry with a number: its LSN. A file
becomes a volume with import, and a file again, as it was at any LSN the store
still holds, with export.

` + exitCodes,
		Example: `  export QUIRE_DIR=/srv/store          # or --dir /srv/store with each command
  txnctl init
  txnctl import notes notes.txt        # the file becomes the volume "notes"
  txnctl import notes notes.txt        # later: only pages that differ are committed
  txnctl log --volume notes
  txnctl export notes old.txt --at 2   # as it was after the entry with LSN 2
  txnctl recovery verify`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          needsCommand,
		PersistentPreRun: func(c *cobra.Command, _ []string) {
			a.began = c.HasParent() // the root alone does nothing
		},
	}
	cobra.EnableCommandSorting = false // they are in the order in which one needs them
	root.SetUsageTemplate(usage)
	root.PersistentFlags().StringVar(&a.dir, "dir", os.Getenv("QUIRE_DIR"), "the store is in `DIR` (default $QUIRE_DIR)")
	root.PersistentFlags().Lookup("dir").DefValue = "" // the same help for everybody
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print data as JSON, see txnctl help json")
	_ = root.MarkPersistentFlagDirname("dir")
	root.AddGroup(
		&cobra.Group{ID: groupFiles, Title: "Stores and files:"},
		&cobra.Group{ID: groupLook, Title: "Look, also beside a running service:"},
		&cobra.Group{ID: groupCare, Title: "Care:"},
		&cobra.Group{ID: groupTry, Title: "See for yourself:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupFiles, newInitCommand(a), newImportCommand(a), newExportCommand(a), newForkCommand(a), newTagCommand(a), newResetCommand(a))
	add(groupLook, newLsCommand(a), newStatCommand(a), newLogCommand(a), newShowCommand(a), newCatCommand(a), newDiffCommand(a), newGraphCommand(a), newWatchCommand(a), newStatusCommand(a), newHoldCommand(a))
	add(groupCare, newCheckpointCommand(a), newGCCommand(a), newConsumerCommand(a), newFollowCommand(a), newPromoteCommand(a), newRecoveryCommand(a), newBackupCommand(a), newRestoreCommand(a))
	add(groupTry, newDemoCommand(a), newBenchCommand(a))
	root.AddCommand(newJSONTopic())
	return root
}

// usage is cobra's template without "[flags]" for commands that only have
// others below them.
const usage = `Usage:{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND{{else}}
  {{.UseLine}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{$cmds := .Commands}}{{if .HasAvailableSubCommands}}{{range $group := .Groups}}

{{.Title}}{{range $cmds}}{{if eq .GroupID $group.ID}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}

{{if .Groups}}More:{{else}}Commands:{{end}}{{range $cmds}}{{if and (eq .GroupID "") .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{range $cmds}}{{if .IsAdditionalHelpTopicCommand}}
  {{rpad (print "help " .Name) .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Everywhere:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
`

// group makes a command whose only use is to have others below it.
func group(c *cobra.Command, below ...*cobra.Command) *cobra.Command {
	c.Args, c.RunE = cobra.NoArgs, needsCommand
	c.AddCommand(below...)
	return c
}

func needsCommand(*cobra.Command, []string) error {
	return usagef("which command?")
}

// noArgs refuses arguments of commands that take none.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usagef("%s takes flags only, not %q; the directory of the store is named with --dir", c.Name(), args[0])
}

// storeDir is the directory of the store that the user names.
func (a *app) storeDir() (string, error) {
	if a.dir == "" {
		return "", usagef("which store? Name its directory with --dir or QUIRE_DIR")
	}
	return a.dir, nil
}

// print writes an output: as one line of JSON, or as text for people.
func (a *app) print(v any, text func(w io.Writer)) error {
	if !a.json {
		text(a.out)
		return nil
	}
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// output is standard output. It remembers the first error, so that a full disk
// behind it does not pass for success.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(b)
	o.err = err
	return n, err
}

// note tells people what is not data.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.err, format+"\n", args...)
}

func onTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
