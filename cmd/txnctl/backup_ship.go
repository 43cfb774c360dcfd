package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// shipment brings the log of a store, read beside the service that writes it, into
// an archive.
type shipment struct {
	*app
	dir, url string
	store    objects.Store
	seal     archive.SealOptions
	ids      []age.Identity

	archiver *ship.Archiver
	tail     *recovery.Tail
	begin    wal.LSN // of what the log still has
	durable  wal.LSN // up to which it is, at the last look
	before   wal.LSN // where the archive ended
	failing  bool    // it was said that the place cannot be reached
}

// newShipment opens store and archive.
func (a *app) newShipment(ctx context.Context, url string, k *keys, tries int) (*shipment, error) {
	dir, err := a.storeDir()
	if err != nil {
		return nil, err
	}
	if _, err := objects.Open(ctx, url, schemes(false)); isUsage(asUsage(err)) {
		return nil, asUsage(err)
	}
	if err := errors.Join(a.outsideStores(url), outsideArchive(dir, url)); err != nil {
		return nil, err
	}
	s := &shipment{app: a, dir: dir, url: url}
	if s.seal, err = k.seal(); err != nil {
		return nil, err
	}
	if s.ids, err = k.identities(); err != nil {
		return nil, err
	}
	history, err := s.history(ctx) // before a place is made for what is not there
	if err != nil {
		return nil, ofStore(a.noStore(dir, err))
	}
	if s.store, err = a.openArchive(ctx, url); err != nil {
		return nil, err
	}
	if err := s.encrypted(ctx); err != nil {
		return nil, err
	}
	o := ship.Options{Seal: s.seal, Identities: s.ids, History: s.history, Retry: objects.RetryOptions{Tries: tries, Sleep: s.patience}}
	if s.archiver, err = ship.Open(ctx, s.store, history, o); err != nil {
		return nil, err
	}
	s.before = s.archiver.Position().LSN
	return s, nil
}

// patience waits before a call of the place is repeated.
func (s *shipment) patience(ctx context.Context, d time.Duration) error {
	if !s.failing && s.archiver != nil {
		s.note("%s cannot be written to, trying again: %s", s.url, s.archiver.Status().LastError)
		s.failing = true
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// history is where the store stands, and where it left older timelines as far as
// its log says.
func (s *shipment) history(context.Context) (ship.History, error) {
	v, err := recovery.View(s.fs, s.dir, 0)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	scan, facts := v.Findings().Scan, v.Facts()
	s.begin, s.durable = facts.Kept(), scan.Durable.LSN
	if scan.Last == 0 {
		return nil, errors.New("the store has no entry yet: there is nothing to archive")
	}
	var h ship.History
	if scan.Epoch > 1 && len(facts.Generations) > 0 {
		for rec, err := range wal.Records(s.fs, filepath.Join(s.dir, "wal"), facts.Generations, facts.Generations[0].First, scan.Last) {
			if err != nil {
				return nil, err
			}
			if b := rec.Entry.Begin; b != nil && b.ParentLSN != 0 {
				h = append(h, wal.Position{Timeline: b.Parent, LSN: b.ParentLSN, Hash: b.ParentHash})
			}
		}
	}
	return append(h, wal.Position{Timeline: scan.Timeline, LSN: scan.Last, Hash: scan.Hash}), nil
}

// encrypted refuses to put what anybody can read where all else is encrypted.
func (s *shipment) encrypted(ctx context.Context) error {
	if len(s.seal.Recipients) > 0 {
		return nil
	}
	var newest archive.Key
	for item, err := range s.store.List(ctx, archive.LogsPrefix) {
		if err != nil {
			return err
		}
		k, err := archive.ParseKey(item.Key)
		if sealed := k.Kind == archive.KindAppend || k.Kind == archive.KindManifest; err == nil && sealed && k.First >= newest.First {
			newest = k
		}
	}
	if newest.First == 0 {
		return nil
	}
	h, err := archive.ReadHeader(ctx, s.store, newest)
	if err == nil && h.Encryption != archive.EncryptionNone {
		err = usagef("what is in %s is encrypted: name the --recipient of what is to be added", s.url)
	}
	return err
}

// lostError says that the log does not reach back to where the archive ends.
type lostError struct {
	url         string
	first, last wal.LSN // that are missing; last may be 0: up to where the log begins now
	err         error
}

func (e *lostError) Error() string {
	return fmt.Sprintf("%s, and no longer in the store's log, so %s cannot go on: nothing was shipped: txnctl backup create %s keeps the state of now, and behind that it can go on",
		missingText(e.first, e.last), e.url, e.url)
}

func (e *lostError) Unwrap() error { return e.err }

func missingText(first, last wal.LSN) string {
	switch {
	case last == 0:
		return fmt.Sprintf("the entries from %d on are not in the archive", first)
	case first == last:
		return fmt.Sprintf("entry %d is not in the archive", first)
	}
	return fmt.Sprintf("entries %d to %d are not in the archive", first, last)
}

// lost makes the error for a log that has not got entry from.
func (s *shipment) lost(from wal.LSN, err error) error {
	last := wal.LSN(0)
	if v, err := recovery.View(s.fs, s.dir, 0); err == nil {
		facts := v.Facts()
		if kept := facts.Kept(); kept > from {
			last = kept - 1
		}
		_ = v.Close() // it was read only
	}
	return &lostError{s.url, from, last, err}
}

// open opens the log where the archive ends: with the last entry that it has, so
// that another history is found out at once, or the one behind it.
func (s *shipment) open() (err error) {
	at := s.archiver.Position().LSN
	if at == 0 {
		return s.openFirst()
	}
	if s.tail, err = recovery.OpenTail(s.fs, s.dir, at); !errors.Is(err, wal.ErrCompacted) {
		return ofStore(err)
	}
	if s.tail, err = recovery.OpenTail(s.fs, s.dir, at+1); errors.Is(err, wal.ErrCompacted) {
		return s.openBehind(at+1, err)
	}
	return ofStore(err)
}

// openBehind opens the log where it begins, behind what the archive lacks: with the first
// entry the archiver finds out whether a snapshot covers that. When the log has none, it
// does if it is of the newest state.
func (s *shipment) openBehind(missing wal.LSN, gone error) error {
	h, err := s.history(context.Background())
	if err != nil {
		return err
	}
	if end := h[len(h)-1]; s.begin > end.LSN {
		m, err := archive.ReadHeader(context.Background(), s.store, archive.Key{Kind: archive.KindManifest, Log: end.Timeline, First: end.LSN})
		if errors.Is(err, objects.ErrNotFound) || err == nil && m.Position() != end {
			return s.lost(missing, gone)
		}
		if err != nil {
			return err
		}
	}
	return s.openFirst()
}

// openFirst opens the log where it begins, for a new archive, or one behind a gap.
func (s *shipment) openFirst() (err error) {
	for range exportTries {
		if s.tail, err = recovery.OpenTail(s.fs, s.dir, s.begin); !errors.Is(err, wal.ErrCompacted) {
			return ofStore(err)
		}
		if _, err := s.history(context.Background()); err != nil { // a checkpoint came between
			return err
		}
	}
	return errOvertaken
}

func (s *shipment) close() error {
	if s.tail == nil {
		return nil
	}
	return s.tail.Close()
}

// next is the next entry that is durable: io.EOF when there is none.
func (s *shipment) next() (ship.Entry, error) {
	rec, images, err := s.tail.Next()
	if err != nil {
		return ship.Entry{}, ofStore(err)
	}
	return ship.Entry{Entry: rec.Entry, Images: images}, nil
}

// explain says what an archiver that stopped means for who runs it.
func (s *shipment) explain(err error) error {
	shipped := s.archiver.Status().Shipped.LSN
	if shipped == 0 {
		shipped = s.begin - 1
	}
	var gap *ship.GapError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &gap) && gap.Stream:
		return &lostError{s.url, gap.First, gap.Last, err}
	case errors.Is(err, wal.ErrCompacted), errors.Is(err, archive.ErrImage) && s.tail.Gone(shipped+1):
		return s.lost(shipped+1, err)
	}
	return err
}

// once ships what is durable now.
func (s *shipment) once(ctx context.Context) error {
	if s.tail == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	bar := s.newProgress("archive", 1, false)
	defer bar.end()
	end, last := wal.LSN(0), wal.LSN(0)
	err := s.archiver.Run(ctx, ship.Func(func(context.Context) (ship.Entry, error) {
		if end != 0 && last >= end {
			return ship.Entry{}, io.EOF // what came since is for the next time
		}
		e, err := s.next()
		if err == nil {
			end, last = max(end, s.tail.Durable()), e.Last
			bar.of(int64(last), int64(end))
		}
		return e, err
	}))
	if err == nil {
		_, unpacked := s.archiver.Pack(ctx, ship.PackOptions{})
		s.unpacked(unpacked)
	}
	return s.explain(err)
}

// unpacked tells why entries were not packed, which is no failure.
func (s *shipment) unpacked(err error) {
	if err != nil {
		s.note("What was archived could not be packed into fewer objects; nothing is lost, and it is tried again: %v", err)
	}
}

// pollEvery is how often an idle log is looked at.
const pollEvery = 200 * time.Millisecond

// graceful is how long what was read may take to be put after an interruption.
const graceful = 10 * time.Second

// follow ships until ctx ends, which is a good end. idle is called whenever there is
// nothing to do.
func (s *shipment) follow(ctx context.Context, idle func() error) error {
	if err := s.open(); err != nil {
		return err
	}
	put, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(graceful, cancel) })()
	var packer sync.WaitGroup
	packing, end := context.WithCancel(ctx)
	packer.Go(func() { s.archiver.KeepPacked(packing, 0, ship.PackOptions{}, s.unpacked) })
	defer packer.Wait()
	defer end()
	err := s.archiver.Run(put, ship.Func(func(within context.Context) (ship.Entry, error) {
		for {
			if ctx.Err() != nil {
				return ship.Entry{}, io.EOF
			}
			e, err := s.next()
			if err != io.EOF {
				s.failing = s.archiver.Status().Failing
				return e, err
			}
			if err := idle(); err != nil {
				return ship.Entry{}, err
			}
			select {
			case <-ctx.Done():
			case <-within.Done():
				return ship.Entry{}, within.Err()
			case <-time.After(pollEvery):
			}
		}
	}))
	return s.explain(err)
}
