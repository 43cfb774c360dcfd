package txn

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/quarantine"
	"github.com/quire-db/quire/wal"
)

// Tx is one transaction: a snapshot of the whole store and, staged over it,
// what it has written. It is used by one goroutine at a time.
type Tx struct {
	m    *Manager
	id   wal.TxnID
	opts TxOptions
	ctx  context.Context

	began time.Time

	mu       sync.Mutex // against the expirer, nobody else
	ended    error      // why it may not be used any more; nil while it may
	snap     *pagestore.Snapshot
	stage    *quarantine.Stage // nil until the first write
	deadline time.Time
	vols     []*Volume          // opened or created, in that order
	names    map[string]*Volume // what names mean here; nil for "nothing"
	nameRead map[string]wal.VolumeID
	reads    uint  // pages read
	staged   int64 // bytes of pages staged

	prev, next *Tx // the manager's open transactions; Manager.open.mu
}

// ID names the transaction in the log.
func (tx *Tx) ID() wal.TxnID { return tx.id }

// LSN is that of the snapshot the transaction reads.
func (tx *Tx) LSN() wal.LSN { return tx.snap.LSN() }

// use locks the transaction if it may still be used. One that is overdue is
// rolled back here: its deadline holds whenever the expirer comes by.
func (tx *Tx) use() error {
	tx.mu.Lock()
	if tx.ended == nil {
		tx.endIfOverdue(tx.m.opts.Now())
	}
	err := tx.ended
	if err != nil {
		tx.mu.Unlock()
	}
	return err
}

// useForWriting is use for what a read-only transaction may not do.
func (tx *Tx) useForWriting() error {
	if tx.opts.ReadOnly {
		return ErrReadOnly
	}
	return tx.use()
}

// Volume opens the volume with a name. The same name yields the same *Volume
// within a transaction. Errors: ErrNoVolume.
func (tx *Tx) Volume(name string) (*Volume, error) {
	if err := tx.use(); err != nil {
		return nil, err
	}
	defer tx.mu.Unlock()
	v, err := tx.find(name)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, noVolume(name)
	}
	return v, nil
}

// noVolume does not repeat a name that no volume can have.
func noVolume(name string) error {
	if err := wal.ValidName(name); err != nil {
		return fmt.Errorf("%w: %w", ErrNoVolume, err)
	}
	return fmt.Errorf("%w: %q", ErrNoVolume, name)
}

// find is what name means in the transaction, nil for nothing.
func (tx *Tx) find(name string) (*Volume, error) {
	if v, ok := tx.names[name]; ok {
		return v, nil
	}
	if wal.ValidName(name) != nil {
		return nil, nil
	}
	id, ok, err := tx.snap.VolumeID(name)
	if err != nil {
		return nil, fmt.Errorf("txn: look up volume %q: %w", name, err)
	}
	tx.nameRead[strings.Clone(name)] = id
	if !ok {
		tx.names[strings.Clone(name)] = nil
		return nil, nil
	}
	v, err := tx.openBase(id)
	if err != nil {
		return nil, err
	}
	tx.names[v.attrs.Name] = v
	return v, nil
}

func (tx *Tx) openBase(id wal.VolumeID) (*Volume, error) {
	base, ok, err := tx.snap.Volume(id)
	if err != nil || !ok {
		return nil, fmt.Errorf("txn: open volume %s: %w", id, orMissing(err))
	}
	v := &Volume{tx: tx, id: id, key: id, base: base, volumeState: stateOf(base)}
	tx.vols = append(tx.vols, v)
	return v, nil
}

func orMissing(err error) error {
	if err == nil {
		return &wal.CorruptError{File: "heap", Offset: -1, Reason: "the catalogue names a volume that it does not hold"}
	}
	return err
}

// CreateVolume makes an empty volume. Errors: ErrVolumeExists, ErrPageSize, an
// invalid name.
func (tx *Tx) CreateVolume(name string, o VolumeOptions) (*Volume, error) {
	if o.PageSize == 0 {
		o.PageSize = wal.DefaultPageSize
	}
	if !wal.ValidPageSize(o.PageSize) {
		return nil, fmt.Errorf("%w: %d is not a power of two from %d to %d", ErrPageSize, o.PageSize, wal.MinPageSize, wal.MaxPageSize)
	}
	if err := wal.ValidName(name); err != nil {
		return nil, fmt.Errorf("txn: create volume: %w", err)
	}
	if err := tx.useForWriting(); err != nil {
		return nil, err
	}
	defer tx.mu.Unlock()
	if err := tx.wantFree(name); err != nil {
		return nil, err
	}
	return tx.create(name, o), nil
}

// create stages an empty volume.
func (tx *Tx) create(name string, o VolumeOptions) *Volume {
	v := &Volume{tx: tx, id: wal.VolumeID(tx.m.newUUID()), created: true}
	v.key = v.id
	v.attrs = wal.VolumeAttrs{Name: name, PageSize: o.PageSize, PageAlgo: wal.AlgoXXH3, Mode: wal.ModeLocal}
	tx.vols = append(tx.vols, v)
	tx.names[name] = v
	return v
}

func (tx *Tx) wantFree(name string) error {
	v, err := tx.find(name)
	if err == nil && v != nil {
		err = fmt.Errorf("%w: %q", ErrVolumeExists, name)
	}
	return err
}

// gives reports whether the transaction gives the name to a volume.
func (tx *Tx) gives(name string) bool {
	v := tx.names[name]
	return v != nil && (v.created || v.base.Attrs.Name != name)
}

// RenameVolume gives a volume another name. Errors: ErrNoVolume,
// ErrVolumeExists, an invalid name.
func (tx *Tx) RenameVolume(from, to string) error {
	if err := wal.ValidName(to); err != nil {
		return fmt.Errorf("txn: rename volume %q: %w", from, err)
	}
	v, err := tx.writable(from)
	if err != nil {
		return err
	}
	defer tx.mu.Unlock()
	if from == to {
		return nil
	}
	if err := tx.wantFree(to); err != nil {
		return err
	}
	tx.names[from], tx.names[to] = nil, v
	v.attrs.Name = to
	return nil
}

// DeleteVolume drops a volume with all its pages. Errors: ErrNoVolume.
func (tx *Tx) DeleteVolume(name string) error {
	v, err := tx.writable(name)
	if err != nil {
		return err
	}
	defer tx.mu.Unlock()
	tx.names[name] = nil
	v.deleted = true
	if v.pages == nil {
		return nil
	}
	return v.change(func(p *quarantine.Pages) error { return p.Truncate(0) }) // what was staged goes nowhere
}

// writable finds a volume for a change and leaves the transaction locked.
func (tx *Tx) writable(name string) (*Volume, error) {
	if err := tx.useForWriting(); err != nil {
		return nil, err
	}
	v, err := tx.find(name)
	if err == nil && v == nil {
		err = noVolume(name)
	}
	if err != nil {
		tx.mu.Unlock()
	}
	return v, err
}

// Rollback ends the transaction without a trace. After Commit it does
// nothing, so it may be deferred.
func (tx *Tx) Rollback() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.ended == nil {
		tx.end(ErrTxDone)
	}
}

// end releases everything the transaction holds. Callers hold tx.mu.
func (tx *Tx) end(why error) {
	tx.ended = why
	if tx.stage != nil {
		if err := tx.stage.Release(); err != nil {
			tx.m.log.Warn().Err(err).Stringer("txn", tx.id).Msg("release staged pages")
		}
		tx.stage = nil
	}
	tx.m.forget(tx)
	tx.m.release(tx.snap)
}

// overdue says why the transaction may not go on: its deadline has passed or its
// context has ended. It is nil while neither is so.
func (tx *Tx) overdue(now time.Time) error {
	if !now.Before(tx.deadline) {
		return ErrExpired
	}
	return tx.ctx.Err()
}

// endIfOverdue rolls back a transaction that is overdue. Callers hold tx.mu.
func (tx *Tx) endIfOverdue(now time.Time) (ended bool) {
	why := tx.overdue(now)
	if why == nil {
		return false
	}
	tx.end(why)
	tx.m.stats.expired.Add(1)
	return true
}

// expire is endIfOverdue for whoever does not use the transaction. One that is
// being used at the moment, or commits, is left alone: it ends by itself or is
// found the next time.
func (tx *Tx) expire(now time.Time) (expired bool) {
	if tx.overdue(now) == nil || !tx.mu.TryLock() {
		return false
	}
	defer tx.mu.Unlock()
	return tx.ended == nil && tx.endIfOverdue(now)
}

// pagesFor is the stage of a volume's pages, made when needed.
func (tx *Tx) pagesFor(v *Volume) *quarantine.Pages {
	if v.pages == nil {
		v.pages = tx.staging().Volume(v.key, v.attrs.PageSize)
	}
	return v.pages
}

func (tx *Tx) staging() *quarantine.Stage {
	if tx.stage == nil {
		tx.stage = tx.m.area.Begin(tx.id)
	}
	return tx.stage
}

// Savepoint is a mark to which RollbackTo returns.
type Savepoint struct {
	tx    *Tx
	stage quarantine.Savepoint
	vols  []volumeMark
	names map[string]*Volume
}

type volumeMark struct {
	v *Volume
	s volumeState
}

// Savepoint marks what is staged so far. Cost: what the transaction has opened,
// not what it has staged.
func (tx *Tx) Savepoint() (Savepoint, error) {
	if err := tx.useForWriting(); err != nil {
		return Savepoint{}, err
	}
	defer tx.mu.Unlock()
	sp := Savepoint{tx: tx, stage: tx.staging().Mark(), names: map[string]*Volume{}}
	for name, v := range tx.names {
		sp.names[name] = v
	}
	for _, v := range tx.vols {
		sp.vols = append(sp.vols, volumeMark{v, v.volumeState})
	}
	return sp, nil
}

// RollbackTo undoes what was staged since the savepoint, which stays valid.
// Later savepoints are gone. What was read since still counts as read.
func (tx *Tx) RollbackTo(sp Savepoint) error {
	if err := tx.useForWriting(); err != nil {
		return err
	}
	defer tx.mu.Unlock()
	if sp.tx != tx {
		return ErrSavepoint
	}
	if err := tx.stage.RollbackTo(sp.stage); err != nil {
		return fmt.Errorf("%w: %w", ErrSavepoint, err)
	}
	marked := map[*Volume]bool{}
	for _, m := range sp.vols {
		m.v.volumeState = m.s
		marked[m.v] = true
	}
	tx.vols = slices.DeleteFunc(tx.vols, func(v *Volume) bool {
		v.deleted = v.deleted || !marked[v] && v.created
		return !marked[v] && v.created
	})
	for _, v := range tx.vols {
		if !marked[v] {
			v.volumeState = stateOf(v.base)
		}
	}
	tx.staged = 0
	for _, v := range tx.vols {
		if v.pages != nil {
			tx.staged += int64(v.pages.Len()) * int64(v.attrs.PageSize)
		}
	}
	// What was looked up since is looked up again.
	tx.names = map[string]*Volume{}
	for name, v := range sp.names {
		tx.names[name] = v
	}
	for _, v := range tx.vols {
		if !marked[v] {
			tx.names[v.attrs.Name] = v
		}
	}
	return nil
}
