package repair

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
)

// place is the directory of the store, and those beside it.
type place struct {
	disk   vfs.FS
	dir    string
	locked func() error // ends the lock of repairs, whose file goes; nil when it was not taken
	unlock func() error // ends that of the damaged store; nil when it was not taken
	made   bool         // the store had no LOCK
	now    string       // where the damaged store is
}

// damaged follows the name of a store that was repaired, and the time it.
const damaged = ".damaged-"

func (p *place) clean() string { return filepath.Clean(p.dir) }

// making is where the store is made, repaired where it is when it is whole and proven.
func (p *place) making() string   { return p.clean() + ".repairing" }
func (p *place) repaired() string { return p.clean() + ".repaired" }

// lock keeps other repairs out.
func (p *place) lock() error {
	if err := vfs.Replaceable(p.clean()); err != nil {
		return err
	}
	release, err := vfs.LockPassing(p.disk, p.making()+".lock", "repair "+uuid.NewString())
	var locked *vfs.LockedError
	if errors.As(err, &locked) {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	p.locked = release
	return err
}

// hold takes the lock of the damaged store, and leaves in it who had it before. What
// is in the lock's place and is no file keeps everybody from opening the store.
func (p *place) hold() error {
	name := filepath.Join(p.dir, recovery.LockName)
	words, err := vfs.ReadBeginning(p.disk, name, 4096)
	p.made = errors.Is(err, fs.ErrNotExist)
	switch {
	case errors.Is(err, vfs.ErrNotRegular):
		return nil
	case err != nil && !p.made:
		return err
	}
	if p.made { // an empty directory in the store's place gets none
		if _, err := p.disk.ReadDir(p.dir); err != nil {
			return err
		}
	}
	p.now = p.dir
	p.unlock, err = p.disk.Lock(name, words)
	return err
}

// release ends the locks, and leaves neither of them behind.
func (p *place) release() (err error) {
	if p.unlock != nil {
		if p.made {
			err = p.disk.Remove(filepath.Join(p.now, recovery.LockName))
		}
		err = errors.Join(err, p.unlock())
	}
	if p.locked != nil {
		err = errors.Join(err, p.locked())
	}
	p.unlock, p.locked = nil, nil
	return err
}

// there reports whether a directory is there.
func (p *place) there(name string) (bool, error) {
	_, err := p.disk.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// name says that the store is whole and proven.
func (p *place) name() error {
	err := p.disk.SyncDir(p.making())
	if err == nil {
		err = p.disk.Rename(p.making(), p.repaired())
	}
	if err == nil {
		err = p.parent()
	}
	return err
}

func (p *place) parent() error { return p.disk.SyncDir(filepath.Dir(p.clean())) }

// away renames the damaged store.
func (p *place) away(at time.Time) (string, error) {
	stamp := p.clean() + damaged + at.UTC().Format("20060102T150405Z")
	name := stamp
	for n := 2; ; n++ {
		there, err := p.there(name)
		if err != nil {
			return "", err
		}
		if !there {
			break
		}
		name = fmt.Sprintf("%s-%d", stamp, n)
	}
	if err := p.disk.Rename(p.clean(), name); err != nil {
		return "", err
	}
	p.now = name
	return name, p.parent()
}

// lastAway is where a damaged store was put last; empty when none is there.
func (p *place) lastAway() (name string, err error) {
	above := filepath.Dir(p.clean())
	entries, err := p.disk.ReadDir(above)
	for _, e := range entries {
		if strings.HasPrefix(e.Name, filepath.Base(p.clean())+damaged) {
			name = filepath.Join(above, e.Name)
		}
	}
	return name, err
}

// take gives the repaired store its name.
func (p *place) take() error {
	if err := p.disk.Rename(p.repaired(), p.clean()); err != nil {
		return fmt.Errorf("the repaired store is %s, whole and proven, and did not get its name; run repair again, or rename it: %w", p.repaired(), err)
	}
	if err := p.parent(); err != nil {
		return fmt.Errorf("the repaired store is there, whole and proven, but its name may not outlast a power cut: sync the directory above it: %w", err)
	}
	return nil
}
