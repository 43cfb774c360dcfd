package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/quire-db/quire/backup"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// exportOutput is what export prints.
type exportOutput struct {
	Volume string `json:"volume" doc:"name of the volume"`
	ID     string `json:"id" doc:"UUID of the volume"`
	File   string `json:"file" doc:"that was written"`
	LSN    uint64 `json:"lsn" doc:"whose state it is"`
	Bytes  int64  `json:"bytes" doc:"length of the file"`
}

// exporter is one run of export.
type exporter struct {
	*app
	name, file string
	at         lsnFlag
}

func newExportCommand(a *app) *cobra.Command {
	ex := &exporter{app: a}
	c := &cobra.Command{
		Use:   "export VOLUME FILE",
		Short: "Make the content of a volume a file",
		Long: `Write the content of VOLUME to FILE, or to standard output when it is "-". The
file appears under its name when all of it is written and synced, in place of
one that had the name; on an error nothing has changed. A FIFO or a device is
written to as it is.

With --at LSN it is the state after that entry. The store holds the states from
its last checkpoint on (see status). Every page is verified as it is read.`,
		Example: `  txnctl export notes notes.txt
  txnctl export notes before.txt --at 7
  txnctl export notes@v1 released.txt
  txnctl export app.sql - | psql app`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeVolume,
		RunE: func(c *cobra.Command, args []string) error {
			ex.name, ex.file = args[0], args[1]
			return ex.run(c.Context())
		},
	}
	c.Flags().Var(&ex.at, "at", "the state after the entry with this `LSN` (default the newest)")
	return c
}

func (ex *exporter) run(ctx context.Context) error {
	if ex.file == "-" && ex.json {
		return usagef("--json and FILE \"-\" both want standard output")
	}
	if ex.file == "-" {
		_, err := ex.write(ctx, ex.out)
		return err
	}
	name, write := ex.target()
	out, err := write(ctx, name)
	if err != nil {
		return err
	}
	return ex.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "Wrote %s: %s as of LSN %d, %s.\n", out.File, out.Volume, out.LSN, bytesText(out.Bytes))
	})
}

// target is the file behind links, and how it is written.
func (ex *exporter) target() (name string, write func(context.Context, string) (exportOutput, error)) {
	name, err := filepath.EvalSymlinks(ex.file)
	if err != nil { // there is none
		return ex.file, ex.toFile
	}
	if st, err := os.Stat(name); err == nil && !st.Mode().IsRegular() {
		return name, ex.toDevice
	}
	return name, ex.toFile
}

// exportTries is how often an export begins anew because a running service
// wrote over what it was reading.
const exportTries = 5

// errOvertaken: a running service reused the space of what was being read.
var errOvertaken = errors.New("a service that has the store open wrote over this state while it was read; nothing is wrong with the store, try again")

// toFile writes to a temporary name beside the file's, and renames.
func (ex *exporter) toFile(ctx context.Context, name string) (out exportOutput, err error) {
	temp := filepath.Join(filepath.Dir(name), ".txnctl-"+uuid.NewString()+".tmp")
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return out, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp))
		}
	}()
	out, err = ex.writeAgain(ctx, f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return out, err
	}
	if err = os.Rename(temp, name); err != nil {
		return out, err
	}
	// Who deletes the original now must not lose both.
	if serr := ex.fs.SyncDir(filepath.Dir(name)); serr != nil {
		ex.note("%s is written, but its name may not survive a power cut: %v", name, serr)
	}
	return out, nil
}

// writeAgain begins anew when it was overtaken.
func (ex *exporter) writeAgain(ctx context.Context, f *os.File) (out exportOutput, err error) {
	for range exportTries {
		if out, err = ex.write(ctx, f); !errors.Is(err, errOvertaken) {
			return out, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return out, err
		}
		if err := f.Truncate(0); err != nil {
			return out, err
		}
	}
	return out, err
}

// toDevice writes to what is no regular file and must not become one.
func (ex *exporter) toDevice(ctx context.Context, name string) (out exportOutput, err error) {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return out, err
	}
	out, err = ex.write(ctx, f)
	return out, errors.Join(err, f.Close())
}

// write writes the volume's content.
func (ex *exporter) write(ctx context.Context, w io.Writer) (out exportOutput, err error) {
	err = ex.withView(wal.LSN(ex.at), func(view *recovery.Viewed) error {
		snap := view.Snapshot()
		vol, err := findVolume(snap, ex.name)
		if err != nil {
			return err
		}
		length, err := backup.Length(snap, vol)
		if err != nil {
			return overtaken(view, err)
		}
		bar := ex.progress("export "+vol.Attrs.Name, length)
		defer bar.end()
		out = exportOutput{label(vol), vol.ID.String(), ex.file, uint64(stateLSN(snap, vol)), length}
		return overtaken(view, backup.Export(ctx, vol, length, w, bar.at))
	})
	return out, err
}

// overtaken tells damage from a service at work.
func overtaken(v *recovery.Viewed, err error) error {
	if errors.Is(err, wal.ErrCorrupt) {
		if moved, merr := v.Moved(); merr == nil && moved {
			return errOvertaken
		}
	}
	return err
}
