package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// withStore runs f with the store open for writing: this process alone has it. No
// consumer is dropped: how much may be kept for one is its service's to say.
func (a *app) withStore(o txn.Options, f func(*txn.Manager, *recovery.Report) error) (err error) {
	dir, err := a.storeDir()
	if err != nil {
		return err
	}
	o.FS = a.fs
	o.ConsumerLagBytes = math.MaxInt64
	wait := a.wait("open the store")
	m, rep, err := txn.Open(dir, o)
	wait.end()
	if err != nil && !o.Create {
		err = a.noStore(dir, err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	a.noteRecovery(rep)
	return f(m, rep)
}

// noteRecovery says what opening had to put right.
func (a *app) noteRecovery(rep *recovery.Report) {
	if rep.Copied {
		a.note("The store lies in another directory than before and may be a copy: it is a store of its own from now on, with a new UUID%s.", timelineNote(rep))
	}
	if rep.Clean || rep.Created {
		return
	}
	a.note("The store was not closed cleanly: %s applied again.", count(rep.Replayed, "entry"))
	if rep.Cut != nil {
		a.note("A torn tail of %s was cut from the log, a copy is in quarantine/: %s.", bytesText(rep.Cut.Bytes), rep.Cut.Reason)
	}
}

// timelineNote says that opening began a timeline.
func timelineNote(rep *recovery.Report) string {
	if rep.Began == "" {
		return ""
	}
	return fmt.Sprintf(" and, from LSN %d on, a new timeline", rep.Last)
}

// withView runs f with the state at an LSN, 0 for the newest, which is read
// without a lock and without changing a byte.
func (a *app) withView(at wal.LSN, f func(*recovery.Viewed) error) (err error) {
	dir, err := a.storeDir()
	if err != nil {
		return err
	}
	v, err := recovery.View(a.fs, dir, at)
	if err != nil {
		return a.noStore(dir, err)
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	return f(v)
}

// noStore says what to do when there is no store at all.
func (a *app) noStore(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, wal.ErrCorrupt) && !a.hasStore(dir) {
		return fmt.Errorf("there is no store in %s; txnctl init makes one", dir)
	}
	return err
}

func (a *app) hasStore(dir string) bool {
	_, err := a.fs.Lstat(filepath.Join(dir, manifest.Name))
	return err == nil
}

// findVolume finds a volume by its name, or by its UUID; or what VOLUME@TAG
// points to. A volume whose name has an @ is found by it.
func findVolume(s *pagestore.Snapshot, arg string) (pagestore.Volume, error) {
	at := strings.LastIndexByte(arg, '@')
	if _, ok, err := s.VolumeID(arg); ok || err != nil || at < 0 {
		return findCurrent(s, arg)
	}
	v, err := findCurrent(s, arg[:at])
	if err != nil {
		return v, err
	}
	t, ok, err := s.Tag(wal.Ref{Volume: v.ID, Name: wal.RefName(arg[at+1:])})
	if err == nil && !ok {
		err = fmt.Errorf("volume %q has no tag %q at LSN %d; txnctl tag ls lists them", v.Attrs.Name, arg[at+1:], s.LSN())
	}
	return t, err
}

// label is how one names what findVolume found.
func label(v pagestore.Volume) string {
	if v.Ref == "" {
		return v.Attrs.Name
	}
	return v.Attrs.Name + "@" + string(v.Ref)
}

// stateLSN is the entry after which the state is that of v.
func stateLSN(s *pagestore.Snapshot, v pagestore.Volume) wal.LSN {
	if v.Ref == "" {
		return s.LSN()
	}
	return v.Tip
}

func findCurrent(s *pagestore.Snapshot, arg string) (pagestore.Volume, error) {
	id, ok, err := s.VolumeID(arg)
	if err == nil && !ok {
		var u uuid.UUID
		if u, err = uuid.Parse(arg); err != nil {
			return pagestore.Volume{}, errNoVolume(s, arg)
		}
		id = wal.VolumeID(u)
	}
	if err != nil {
		return pagestore.Volume{}, err
	}
	v, ok, err := s.Volume(id)
	if err == nil && !ok {
		err = errNoVolume(s, arg)
	}
	return v, err
}

func errNoVolume(s *pagestore.Snapshot, arg string) error {
	return fmt.Errorf("there is no volume %q at LSN %d; txnctl ls lists them", arg, s.LSN())
}

// parseLSN takes an LSN from the command line.
func parseLSN(s string) (wal.LSN, error) {
	lsn, err := wal.ParseLSN(s)
	if err == nil && lsn == 0 {
		err = errors.New("LSNs begin with 1")
	}
	if err != nil {
		return 0, usageError(fmt.Sprintf("%q is not an LSN: want a decimal number from 1 on", s))
	}
	return lsn, nil
}

// lsnFlag is a flag that takes an LSN; zero when it is not given.
type lsnFlag wal.LSN

func (f *lsnFlag) String() string {
	if *f == 0 {
		return ""
	}
	return wal.LSN(*f).String()
}

func (f *lsnFlag) Set(s string) error {
	lsn, err := parseLSN(s)
	*f = lsnFlag(lsn)
	return err
}

func (f *lsnFlag) Type() string { return "LSN" }
