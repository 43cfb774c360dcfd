package txn

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
)

// holdsFile is the keeper's notice of what is held (see noticeJSON). It is
// written when something has changed, once a second at most and for a twentieth
// of the keeper's time, without what has begun within the last second: so a store
// whose transactions are short never writes it. Errors are told to the log only.
type holdsFile struct {
	owner string    // as in LOCK; empty while no notice can be given
	due   time.Time // not before
	was   HoldsNotice
}

const (
	holdsEvery = time.Second
	holdsShare = 20
	holdsRetry = 10 * time.Second // after an error
)

func (m *Manager) holdsName() string { return filepath.Join(m.dir, recovery.HoldsName) }

// beginNotice removes what another process has left. Where the disk cannot tell
// who holds the lock there are no notices.
func (m *Manager) beginNotice() {
	owner, held, err := recovery.LockHolder(m.opts.FS, m.dir)
	if err != nil || !held || owner == "" || m.poisoned() != nil {
		return
	}
	m.notice.owner = owner
	m.removeNotice()
}

func (m *Manager) removeNotice() {
	for _, name := range []string{m.holdsName(), m.holdsName() + ".tmp"} {
		if _, err := m.opts.FS.Lstat(name); err != nil {
			continue // there is none
		}
		if err := m.opts.FS.Remove(name); err != nil {
			m.log.Debug().Err(err).Msg("remove the notice of holds")
		}
	}
}

// endNotice is Close's.
func (m *Manager) endNotice() {
	if m.notice.was.Total > 0 && m.poisoned() == nil {
		m.removeNotice()
	}
}

// giveNotice writes the notice anew if it is due and says something else.
func (m *Manager) giveNotice() {
	n, now := &m.notice, m.opts.Now()
	if n.owner == "" || now.Before(n.due) || m.holds.len()+m.open.len()+n.was.Total == 0 {
		return
	}
	says := m.noticeAt(now)
	n.due = now.Add(max(holdsEvery, holdsShare*m.opts.Now().Sub(now)))
	if says.equal(n.was) {
		return
	}
	if says.Total == 0 {
		m.removeNotice()
	} else if err := m.writeNotice(says); err != nil {
		n.due = now.Add(holdsRetry)
		m.log.Debug().Err(err).Msg("write the notice of holds")
		return
	}
	n.was = says
}

func (m *Manager) noticeAt(now time.Time) HoldsNotice {
	rep := m.Holds()
	list := slices.DeleteFunc(rep.Holds, func(h HoldInfo) bool {
		return h.Kind == HoldConsumer || now.Sub(h.Since) < holdsEvery // consumers are in the manifest
	})
	return HoldsNotice{Written: now, Total: len(list), KeptBytes: rep.KeptBytes, Holds: slices.Clone(list[:min(len(list), maxListed)])}
}

// equal leaves out when it was written.
func (n HoldsNotice) equal(o HoldsNotice) bool {
	return n.Total == o.Total && n.KeptBytes == o.KeptBytes && slices.Equal(n.Holds, o.Holds)
}

func (m *Manager) writeNotice(says HoldsNotice) error {
	b, err := encodeNotice(m.notice.owner, says)
	if err != nil {
		return err
	}
	temp := m.holdsName() + ".tmp"
	if err := m.opts.FS.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := m.opts.FS.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return m.opts.FS.Rename(temp, m.holdsName())
}

// ReadHolds is what the process that has the store in dir open last said of its
// transactions and holds: a few seconds old at most, or as long as a checkpoint
// takes, and without those younger than a second. ok is false when nobody has it
// open, or says nothing. It takes no lock and changes nothing.
func ReadHolds(fsys vfs.FS, dir string) (n HoldsNotice, ok bool, err error) {
	holder, held, err := recovery.LockHolder(fsys, dir)
	if err != nil || !held {
		return n, false, err
	}
	b, err := readSmall(fsys, filepath.Join(dir, recovery.HoldsName))
	if errors.Is(err, fs.ErrNotExist) {
		return n, false, nil
	}
	var owner string
	if err == nil {
		owner, n, err = decodeNotice(b)
	}
	if err != nil {
		return HoldsNotice{}, false, fmt.Errorf("txn: read %s, which only says what is held, and is written anew: %w", recovery.HoldsName, err)
	}
	if owner != holder {
		return HoldsNotice{}, false, nil // left by another
	}
	return n, true, nil
}

func readSmall(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.OpenRead(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(size, maxHoldsBytes+1))
	_, err = f.ReadAt(b, 0)
	return b, err
}
