package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

// Name of the file in the store's directory, and of one that a crash may leave
// beside it, which means nothing.
const (
	Name      = "MANIFEST"
	temporary = "MANIFEST.tmp"
)

var (
	// ErrPoisoned: a write or sync of the manifest failed earlier, so what the
	// disk holds is unknown. Reopening the store finds out (promise 6).
	ErrPoisoned = errors.New("manifest: poisoned by an earlier failure, reopen the store to recover")
	// ErrNoSpace: the disk is full, and Append changed nothing. It works again
	// once there is room.
	ErrNoSpace = errors.New("manifest: no space on the disk for a record, nothing was changed")
	// ErrClosed: used after Close.
	ErrClosed = errors.New("manifest: closed")
)

// foldBytes is the size below which a file is never folded.
const foldBytes = 1 << 20

// slackBytes of zeros are kept behind the last record, written ahead, so that
// records go where the disk has given space already.
const slackBytes = 64 << 10

// Manifest is the open manifest of a store whose lock the caller holds. Its
// methods may be called by several goroutines at once.
type Manifest struct {
	fs  vfs.FS
	dir string

	durable atomic.Pointer[Facts] // of the newest durable record, without Used

	mu     sync.Mutex // guards what follows, held through syncs
	facts  Facts
	file   vfs.File // nil before the first fold
	end    int64    // of the last record in the file
	filled int64    // bytes of the file that are the disk's already, end or more
	base   int64    // bytes of it that are header and snapshot
	seed   uint32   // CRC of the header
	prev   uint32   // CRC of the last record
	failed error
}

// Create makes the manifest of a new store, which must not have one. A crash
// leaves it whole or absent. Seq becomes 1 if it is 0.
func Create(disk vfs.FS, dir string, f Facts) (*Manifest, error) {
	_, err := disk.Lstat(filepath.Join(dir, Name))
	if err == nil {
		err = fs.ErrExist
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("manifest: create in %s, nothing was changed: %w", dir, err)
	}
	checked, err := decodeSnapshot(encodeSnapshot(&f))
	if err != nil {
		return nil, fmt.Errorf("manifest: create in %s: facts that cannot be: %w", dir, err)
	}
	checked.Seq, checked.Store = max(f.Seq, 1), f.Store
	m := &Manifest{fs: disk, dir: dir, facts: checked}
	if err := m.fold(0); err != nil {
		return nil, err
	}
	return m, nil
}

// Open is Load, and then writes what it read anew under the next sequence
// number: what the page cache showed is not believed after a kill. A clean
// mark stays until the first Append.
func Open(disk vfs.FS, dir string) (*Manifest, Facts, Report, error) {
	f, rep, err := Load(disk, dir)
	if err != nil {
		return nil, f, rep, err
	}
	m := &Manifest{fs: disk, dir: dir, facts: f.clone(true)}
	m.facts.Seq++
	if err := m.fold(slackBytes); err != nil {
		return nil, f, rep, err
	}
	f.Seq = m.facts.Seq
	return m, f, rep, nil
}

// Seq is the sequence number of the newest durable record. Cost: a load.
func (m *Manifest) Seq() uint64 { return m.durable.Load().Seq }

// Facts are those of the newest durable record, but for Used, which is nil. It
// waits for no disk.
func (m *Manifest) Facts() Facts { return m.durable.Load().clone(false) }

// isDurable says that the facts are those of a durable record. Callers hold mu.
func (m *Manifest) isDurable() {
	f := m.facts.clone(false)
	m.durable.Store(&f)
}

// Append makes e durable and returns the sequence number of its record. An
// edit that cannot be true of the facts, or for which there is no space
// (ErrNoSpace), is refused and changes nothing; every other error is, or leads
// to, ErrPoisoned. When the file has grown to four times its snapshot it is
// folded: written anew, with e, and renamed.
func (m *Manifest) Append(e Edit) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return 0, m.failed
	}
	payload := encodeEdit(e)
	if err := m.reserve(recordBytes + int64(len(payload))); err != nil {
		return 0, err
	}
	if err := m.facts.apply(e); err != nil {
		return 0, fmt.Errorf("manifest: refused an edit, nothing was changed: %w", err)
	}
	m.facts.Seq++
	if err := m.write(payload); err != nil {
		return 0, m.poison(err)
	}
	m.isDurable()
	return m.facts.Seq, nil
}

// CloseClean folds the manifest into one snapshot that says that lsn is the
// last of the log and all is durable, and closes it. From then on any damage
// to it is corruption: there is no tail that could be torn.
func (m *Manifest) CloseClean(lsn wal.LSN) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	m.facts.Seq++
	m.facts.Clean = lsn
	if err := m.fold(0); err != nil {
		return m.poison(err)
	}
	return m.close()
}

// Close closes the file and writes nothing: the next Open finds the store as
// a crash would have left it. After CloseClean it does nothing.
func (m *Manifest) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if errors.Is(m.failed, ErrClosed) {
		return nil
	}
	return m.close()
}

func (m *Manifest) close() error {
	m.failed = ErrClosed
	return m.file.Close()
}

func (m *Manifest) poison(err error) error {
	m.failed = fmt.Errorf("%w: %w", ErrPoisoned, err)
	return m.failed
}

// reserve makes sure of n bytes behind the last record, and of slack behind
// them as long as the disk has it.
func (m *Manifest) reserve(n int64) error {
	need := m.end + n
	if need+slackBytes/2 <= m.filled {
		return nil
	}
	err := m.fill(need + slackBytes)
	switch {
	case err == nil:
		return nil
	case !vfs.IsFull(err):
		return m.poison(fmt.Errorf("writing zeros ahead: %w", err))
	case need > m.filled:
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return nil
}

// fill writes zeros up to an offset. When it fails none of them count, and what
// is there of them does no harm: behind the last record zeros mean nothing.
func (m *Manifest) fill(to int64) error {
	if _, err := m.file.WriteAt(make([]byte, to-m.filled), m.filled); err != nil {
		return err
	}
	if err := m.file.Sync(); err != nil {
		return err
	}
	m.filled = to
	return nil
}

// write appends the record of an edit, which the facts already hold and for
// which there is room, or folds.
func (m *Manifest) write(payload []byte) error {
	rec, crc := appendRecord(nil, m.seed, m.facts.Seq, m.prev, payload)
	rec = append(rec, payload...)
	if m.end+int64(len(rec)) > max(foldBytes, 4*m.base) {
		if next, err := m.stage(slackBytes); err == nil {
			return m.adopt(next)
		} // no room for a second file: the first still serves
	}
	if _, err := m.file.WriteAt(rec, m.end); err != nil {
		return fmt.Errorf("writing record %d: %w", m.facts.Seq, err)
	}
	if err := m.file.Sync(); err != nil {
		return fmt.Errorf("syncing record %d: %w", m.facts.Seq, err)
	}
	m.end += int64(len(rec))
	m.prev = crc
	return nil
}

// fold replaces the file by one that holds the facts as a snapshot, with slack
// behind it if the disk has that.
func (m *Manifest) fold(slack int64) error {
	next, err := m.stage(slack)
	if err != nil {
		return fmt.Errorf("manifest: fold in %s: %w", m.dir, err)
	}
	if err := m.adopt(next); err != nil {
		return fmt.Errorf("manifest: fold in %s: %w", m.dir, err)
	}
	m.isDurable()
	return nil
}

// staged is a file with the facts that is not yet the manifest.
type staged struct {
	file       vfs.File
	end, bytes int64
	seed, crc  uint32
}

// stage writes and syncs one. A failure leaves the manifest as it was.
func (m *Manifest) stage(slack int64) (s staged, err error) {
	payload := encodeSnapshot(&m.facts)
	b, seed := appendHeader(nil, m.facts.Store)
	b, crc := appendRecord(b, seed, m.facts.Seq, seed, payload)
	name := filepath.Join(m.dir, temporary)
	if err := m.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	f, err := m.fs.Create(name)
	if err != nil {
		return s, err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		_, err = f.WriteAt(payload, int64(len(b)))
	}
	end := int64(len(b) + len(payload))
	if err == nil {
		if _, err = f.WriteAt(make([]byte, slack), end); vfs.IsFull(err) {
			slack, err = 0, nil // what is there of it does no harm
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return s, errors.Join(err, f.Close(), m.fs.Remove(name))
	}
	return staged{f, end, end + slack, seed, crc}, nil
}

// adopt makes s the manifest. After a failure either may be, but s is not
// acknowledged.
func (m *Manifest) adopt(s staged) error {
	err := m.fs.Rename(filepath.Join(m.dir, temporary), filepath.Join(m.dir, Name))
	if err == nil {
		err = m.fs.SyncDir(m.dir)
	}
	if err != nil {
		return errors.Join(err, s.file.Close())
	}
	if m.file != nil {
		_ = m.file.Close() // it has no name any more: nothing depends on it
	}
	m.file, m.end, m.filled, m.base, m.seed, m.prev = s.file, s.end, s.bytes, s.end, s.seed, s.crc
	return nil
}
