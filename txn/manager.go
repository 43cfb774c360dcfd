package txn

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/quarantine"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// Manager is an open store. Its methods may be called by any number of
// goroutines.
type Manager struct {
	opts   Options
	dir    string
	log    zerolog.Logger
	unlock func() error
	store  *pagestore.Store
	wal    *wal.Log
	area   *quarantine.Area

	seq struct {
		mu    sync.Mutex
		draft *pagestore.Draft // the logical tips
		group *group           // the open group; nil when nobody has joined yet
	}
	queue       queue
	lastPayload atomic.Int64 // bytes of images in the last group
	ordinals    ordinals     // of log generations, by their names
	prepared    signal       // a log generation became ready, or could not be made

	noGeneration atomic.Pointer[attempt] // the last that failed
	attempts     atomic.Uint64           // that were begun
	sealed       []wal.Generation        // full, not yet said in the manifest; the preparer's own

	// The flusher's own.
	unsynced struct {
		heap  bool
		last  wal.LSN
		since time.Time // of the oldest buffered commit
	}
	marked   wal.LSN // the durable mark last written
	expected int     // commits at work when the last group was written
	syncTook time.Duration

	role      atomic.Uint32 // see follow.go
	following following

	durableLSN     atomic.Uint64
	progress       bell // rung when the durable or the published LSN rises, and by poison
	prover         prover
	consumers      consumers
	failure        atomic.Pointer[PoisonedError]
	committing     atomic.Int32
	checkpoint     checkpointer
	pressure       pressure
	lastCheckpoint atomic.Int64 // nanoseconds since 1970
	stats          counters

	opened  wal.LSN   // the last entry when it was opened
	archive *archiver // nil when there is none
	open    openTxs
	holds   holdTable
	notice  holdsFile // the keeper's, then Close's
	buffers buffers
	random  sharedReader // of UUIDs

	wake          chan struct{} // a group waits for the flusher
	keeperPoke    chan struct{}
	preparerPoke  chan struct{}
	checkpointNow chan chan error
	closing       chan struct{} // closed when Close begins
	stopFlusher   chan struct{}
	flusherDone   chan struct{}
	running       sync.WaitGroup // keeper, expirer and preparer
	closeOnce     sync.Once
	closeErr      error
}

// Open opens the store in dir for writing, recovering it first, and reports
// what recovery did. Errors: a *vfs.LockedError when somebody else has it
// open, fs.ErrNotExist when there is no store and Options.Create is not set,
// wal.ErrCorrupt, wal.ErrVersion; nothing was changed then.
func Open(dir string, o Options) (*Manager, *recovery.Report, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, nil, err
	}
	st, err := recovery.Open(recovery.Options{
		FS: o.FS, Dir: dir, Create: o.Create, Follower: o.Follower, CacheBytes: o.CacheBytes, GenerationBytes: o.GenerationBytes,
		Stage: quarantine.Limits{StageBytes: o.StageBytes, TotalBytes: 16 * o.StageBytes},
		Now:   o.Now, Random: o.Random,
	})
	if err != nil {
		return nil, nil, err
	}
	m := &Manager{
		opts: o, dir: dir, log: o.Logger, unlock: st.Unlock, store: st.Store, wal: st.Log, area: st.Area,
		pressure:      pressure{limit: o.CheckpointBytes, written: st.Report.ReplayedBytes},
		checkpoint:    checkpointer{reply: make(chan error, 1), store: st.Store},
		wake:          make(chan struct{}, 1),
		keeperPoke:    make(chan struct{}, 1),
		preparerPoke:  make(chan struct{}, 1),
		checkpointNow: make(chan chan error),
		closing:       make(chan struct{}),
		stopFlusher:   make(chan struct{}),
		flusherDone:   make(chan struct{}),
	}
	m.seq.draft = st.Draft
	m.opened = st.Draft.Head.LSN
	m.random.r = o.Random
	if o.Random == nil {
		m.random.r = bufio.NewReaderSize(rand.Reader, 1<<10) // a system call for 64 UUIDs
	}
	m.role.Store(uint32(st.Report.Role))
	m.ordinals.set(st.Ordinals)
	m.unsynced.last = st.Draft.Head.LSN
	m.setDurable(st.Draft.Head.LSN)
	m.lastCheckpoint.Store(o.Now().UnixNano())
	m.start()
	m.logPlace(&st.Report)
	m.beginArchive()
	m.log.Info().Str("dir", dir).Uint64("lsn", uint64(st.Draft.Head.LSN)).
		Int("replayed", st.Report.Replayed).Dur("took", st.Report.Took).Msg("store opened")
	return m, &st.Report, nil
}

func (m *Manager) start() {
	m.running.Add(3)
	go m.keeper()
	go m.expirer()
	go m.preparer()
	go m.flusher()
	m.pokeKeepers()
}

// Close waits for the commits in flight, rolls back what is open, marks the
// log as ended and lets go of the store. It returns why the store is not
// cleanly closed, if so; reopening recovers it.
func (m *Manager) Close() error {
	m.closeOnce.Do(func() { m.closeErr = m.close() })
	return m.closeErr
}

func (m *Manager) close() error {
	m.open.close()
	m.pressure.end(nil)           // those who are held pass: they are few, and no more come
	for m.committing.Load() > 0 { // each ends by itself, or by its context
		time.Sleep(100 * time.Microsecond)
	}
	m.open.rollBackAll()
	m.endArchive()
	m.holds.close()
	close(m.closing)
	m.running.Wait()
	close(m.stopFlusher)
	<-m.flusherDone
	m.endNotice()
	m.prover.end()
	m.endConsumers()
	err := m.closeStore()
	m.log.Info().Err(err).Msg("store closed")
	return errors.Join(err, m.unlock())
}

func (m *Manager) closeStore() error {
	if err := m.poisoned(); err != nil {
		_, _ = m.wal.Close() // it is poisoned too, and says the same
		return errors.Join(err, m.store.Close())
	}
	sealed, err := m.wal.Close()
	if err != nil {
		return errors.Join(err, m.store.Close())
	}
	last, before := m.seq.draft.Head.LSN, m.store.Facts().Generations
	if err := m.store.EditManifest(sealGenerations(append(m.sealed, sealed...), true)); err != nil {
		return errors.Join(err, m.store.Close())
	}
	if err := m.removeGenerations(before); err != nil {
		m.log.Warn().Err(err).Msg("remove log generations that were never used")
	}
	return m.store.CloseClean(last)
}

// Begin begins a transaction on the newest committed state. Its cost does not
// depend on what the store holds. Rollback or Commit ends it. ErrFollower: the
// store is a follower, and the transaction may write.
//
// With TxOptions.Actor and Seq the request is looked up first: one that has
// committed is a *RepeatedError with its result, one that cannot commit here any
// more, or is another's, a *RequestError.
func (m *Manager) Begin(ctx context.Context, o TxOptions) (*Tx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	if !o.ReadOnly && m.Role() != RoleWriter {
		return nil, ErrFollower
	}
	if !o.ReadOnly && o.Seq == 0 {
		if err := m.poisoned(); err != nil {
			return nil, err
		}
	}
	tx, err := m.beginOn(ctx, m.store.Acquire(), o)
	if err != nil {
		return nil, err
	}
	if o.Seq != 0 {
		if err := tx.begun(ctx); err != nil {
			tx.Rollback()
			return nil, err
		}
	}
	return tx, nil
}

// beginOn begins a transaction on a snapshot that was acquired for it.
func (m *Manager) beginOn(ctx context.Context, snap *pagestore.Snapshot, o TxOptions) (*Tx, error) {
	timeout := o.Timeout
	if timeout == 0 {
		timeout = m.opts.TxTimeout
	}
	now := m.opts.Now()
	tx := &Tx{
		m: m, id: wal.TxnID(m.newUUID()), opts: o, ctx: ctx, began: now, deadline: now.Add(timeout),
		snap: snap, names: map[string]*Volume{}, nameRead: map[string]wal.VolumeID{},
	}
	if err := m.open.add(tx); err != nil { // from here on it may expire
		m.release(snap)
		return nil, err
	}
	return tx, nil
}

// sharedReader is a reader for many goroutines.
type sharedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (s *sharedReader) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(p)
}

func (m *Manager) newUUID() uuid.UUID { return uuid.Must(uuid.NewV7FromReader(&m.random)) }

// release ends a transaction's hold.
func (m *Manager) release(s *pagestore.Snapshot) {
	if m.store.Release(s) {
		poke(m.keeperPoke)
	}
}

func (m *Manager) forget(tx *Tx) { m.open.remove(tx) }

// yield lets a commit have the processor: readers that never pause would
// starve committers on few cores.
func (m *Manager) yield(tx *Tx) {
	if tx.reads++; tx.reads%8 == 0 && m.committing.Load() > 0 {
		runtime.Gosched()
	}
}

func (m *Manager) poke() { poke(m.wake) }

func (m *Manager) pokeKeepers() {
	if !m.wal.Ready() || m.store.Heap().Short() {
		poke(m.preparerPoke)
	}
	if m.pressure.level() >= m.opts.CheckpointBytes || m.crowded() {
		poke(m.keeperPoke)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (m *Manager) durable() wal.LSN { return wal.LSN(m.durableLSN.Load()) }

func (m *Manager) setDurable(lsn wal.LSN) {
	m.durableLSN.Store(uint64(lsn))
	m.progress.ring()
}

// poison stops all writing for good: that of log and heap too, whoever is about
// to write there.
func (m *Manager) poison(cause error) {
	p := &PoisonedError{Cause: cause, Visible: m.store.Published().LSN, Durable: m.durable()}
	if !m.failure.CompareAndSwap(nil, p) {
		return
	}
	m.wal.Poison(cause)
	m.store.Heap().Poison(cause)
	m.pressure.end(p)
	m.progress.ring()
	m.log.Error().Err(p).Msg("writing has stopped")
}

// failed takes note of an error after which the heap is not written any more.
// It makes what is refused on that account an ErrPoisoned.
func (m *Manager) failed(err error) error {
	if bad := m.store.Poisoned(); bad != nil {
		m.poison(bad)
	}
	if p := m.poisoned(); p != nil && !errors.Is(err, ErrPoisoned) {
		return errors.Join(err, p)
	}
	return err
}

// poisoned is the reason why nothing is written any more, or nil.
func (m *Manager) poisoned() error {
	if p := m.failure.Load(); p != nil {
		return p
	}
	return nil
}
