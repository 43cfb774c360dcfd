package quarantine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/quire-db/quire/internal/vfs"
)

// MaxTails is how many copies of cut tails a store keeps: the newest ones. A
// program that is killed over and over leaves one each time, and whoever wants
// to know what happened looks at the last.
const MaxTails = 16

// tail is the name of a copy, <number>-<name>.tail. Numbers rise, so that the
// newest are known: names of log generations are random, and a file's time says
// when it was copied elsewhere.
type tail struct {
	number uint64 // from 1 on; 0 for a file without one
	name   string
	file   string
}

const tailDigits = 8 // at least, of a number

// parseTail knows the copies among the quarantine's files.
func parseTail(file string) (tail, bool) {
	name, ok := strings.CutSuffix(file, tailSuffix)
	if !ok {
		return tail{}, false
	}
	digits, rest, _ := strings.Cut(name, "-")
	if n, err := strconv.ParseUint(digits, 10, 63); err == nil && fmt.Sprintf("%0*d", tailDigits, n) == digits && rest != "" {
		return tail{n, rest, file}, true
	}
	return tail{0, name, file}, true
}

// tailsOf lists the copies, oldest first.
func tailsOf(entries []vfs.Entry) []tail {
	var tails []tail
	for _, e := range entries {
		if t, ok := parseTail(e.Name); ok {
			tails = append(tails, t)
		}
	}
	slices.SortFunc(tails, func(a, b tail) int {
		if a.number != b.number && a.number < b.number {
			return -1
		} else if a.number != b.number {
			return 1
		}
		return strings.Compare(a.file, b.file)
	})
	return tails
}

// KeepTail keeps a copy of what recovery cuts off the log, durable on return,
// and returns its file's name in the quarantine. A copy of that name, which a
// recovery that crashed made, is replaced.
func (a *Area) KeepTail(name string, content io.Reader) (file string, err error) {
	if name == "" || strings.ContainsAny(name, `/\`) || strings.HasPrefix(name, ".") {
		return "", fmt.Errorf("quarantine: keep tail: %q is not a file name", name)
	}
	file, err = a.tailFile(name)
	if err == nil {
		err = a.replace(filepath.Join(a.dir, file), content)
	}
	if err != nil {
		return "", wrap("keep tail", err)
	}
	a.tails++
	return file, nil
}

// tailFile is the file for a tail: that of an earlier copy, or the next number's.
func (a *Area) tailFile(name string) (string, error) {
	entries, err := a.fs.ReadDir(a.dir)
	if err != nil {
		return "", err
	}
	var last uint64
	for _, t := range tailsOf(entries) {
		if t.number > 0 && t.name == name {
			return t.file, nil
		}
		last = t.number
	}
	return fmt.Sprintf("%0*d-%s%s", tailDigits, last+1, name, tailSuffix), nil
}

// replace makes a file with this content, durable, or leaves the one there is.
func (a *Area) replace(path string, content io.Reader) error {
	temp := path + tempSuffix
	if err := a.fs.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := a.copyTo(temp, content); err != nil {
		return err
	}
	if err := a.fs.Rename(temp, path); err != nil {
		return err
	}
	return a.fs.SyncDir(a.dir)
}

func (a *Area) copyTo(name string, r io.Reader) error {
	f, err := a.fs.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.NewOffsetWriter(f, 0), r); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}

// sweepTails removes the oldest copies and counts them. What this Area was given
// stays: somebody is about to be told of it.
func (a *Area) sweepTails(entries []vfs.Entry) (removed int, err error) {
	tails := tailsOf(entries)
	for _, t := range tails[:max(0, len(tails)-max(MaxTails, a.tails))] {
		if err := a.fs.Remove(filepath.Join(a.dir, t.file)); err != nil {
			return removed, wrap("sweep "+t.file, err)
		}
		removed++
	}
	return removed, nil
}
