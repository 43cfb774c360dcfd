package recovery

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// HoldsName is the file in which the process that has the store open says what
// it holds. It is no part of the store: opening and verifying leave it alone.
const HoldsName = "HOLDS"

// strangers lists what lies in a store's directory and is none of its own, or
// is a link, a FIFO or a directory in a file's place: whoever put it there may
// have put others in the place of files. The heap looks after its own. Each is
// a *wal.CorruptError; an error of the disk ends the list.
func strangers(fsys vfs.FS, dir string) (found []error) {
	n := names{fs: fsys, dir: dir}
	n.list("", func(e vfs.Entry) bool {
		switch e.Name {
		case LockName, manifest.Name, manifest.Name + ".tmp", HoldsName, HoldsName + ".tmp":
			return e.Mode.IsRegular()
		case "wal", "heap", "quarantine":
			return e.Mode.IsDir()
		}
		return false
	})
	if len(n.found) > 0 {
		return n.found // what is below may not be below
	}
	n.list("quarantine", func(e vfs.Entry) bool {
		return e.Mode.IsRegular() && slices.Contains([]string{".stage", ".tail", ".tmp"}, filepath.Ext(e.Name))
	})
	n.list("wal", func(e vfs.Entry) bool {
		id, err := wal.ParseGenID(e.Name)
		if err == nil && e.Mode.IsDir() {
			n.list(filepath.Join("wal", e.Name), func(file vfs.Entry) bool {
				return file.Mode.IsRegular() && filepath.Join(e.Name, file.Name) == id.Path()
			})
		}
		return err == nil && e.Mode.IsDir()
	})
	return n.found
}

type names struct {
	fs    vfs.FS
	dir   string
	found []error
}

// list finds the entries of the directory below that are not known. One that is
// not there has none.
func (n *names) list(below string, known func(vfs.Entry) bool) {
	entries, err := n.fs.ReadDir(filepath.Join(n.dir, below))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.found = append(n.found, err)
	}
	for _, e := range entries {
		if known(e) {
			continue
		}
		reason := "it is not a file of this store; nothing was changed, move it away"
		if t := kindOf(e.Mode); t != "" {
			reason = "it is " + t + "; nothing was changed, move it away"
		}
		n.found = append(n.found, &wal.CorruptError{File: filepath.Join(below, e.Name), Offset: -1, Reason: reason})
	}
}

// kindOf says what kind of strange thing has a name.
func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m&(fs.ModeDevice|fs.ModeSocket|fs.ModeIrregular) != 0:
		return "a device, a socket or the like"
	}
	return ""
}

// leftovers are the files that belong to no state: opening removes or counts
// them. Copies of cut tails are there to stay, as long as they are among the newest.
func leftovers(fsys vfs.FS, dir string, unnamed []wal.GenID) (list []string) {
	for _, id := range unnamed {
		list = append(list, filepath.Join("wal", id.String()))
	}
	entries, _ := fsys.ReadDir(filepath.Join(dir, "quarantine"))
	for _, e := range entries {
		if !strings.HasSuffix(e.Name, ".tail") {
			list = append(list, filepath.Join("quarantine", e.Name))
		}
	}
	return list
}
