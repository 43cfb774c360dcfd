package ship_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/archive/archivetest"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/pins"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/wal"
)

// packs are small: of three appends, then of two packs.
var packs = ship.PackOptions{MaxBytes: 40_000, MinAppends: 3, MinPacks: 2, Retry: impatient, Pin: pins.Options{Sleep: objectstest.NoRenewal}}

func pack(t testing.TB, s objects.Store, made []archivetest.Made, o ship.PackOptions) (sum ship.Packed) {
	t.Helper()
	for _, end := range historyOf(made) {
		p, err := ship.Pack(background, s, end.Timeline, o)
		ok(t, err)
		sum.Packs += p.Packs
		sum.Entries += p.Entries
		sum.Deleted += p.Deleted
	}
	return sum
}

// TestPack: packing leaves every entry as it was, in fewer objects, whatever is shipped
// before, between and after.
func TestPack(t *testing.T) {
	secret, err := age.GenerateX25519Identity()
	ok(t, err)
	for _, recipients := range [][]age.Recipient{nil, {secret.Recipient()}} {
		made, s, o, po := lived(20), memory(t), small, packs
		o.Seal.Recipients, po.Seal.Recipients = recipients, recipients
		_, err := ship.Pack(background, s, made[0].Entry.Timeline, po)
		is(t, err, objects.ErrNotFound)
		if recipients != nil {
			locked := memory(t)
			shipped(t, locked, made, o)
			_, err = ship.Pack(background, locked, made[0].Entry.Timeline, po)
			is(t, err, archive.ErrLocked)
		}
		po.Identities = []age.Identity{secret}
		for n := 5; n <= len(made); n += 5 {
			shipped(t, s, made[:n], o)
			before := len(keysOf(t, s, archive.KindAppend, archive.KindPack))
			p := pack(t, s, made[:n], po)
			if now := len(keysOf(t, s, archive.KindAppend, archive.KindPack)); p.Packs > 0 && now != before-p.Deleted+p.Packs || p.Deleted > 0 && now >= before {
				t.Errorf("%d objects became %d: %+v", before, now, p)
			}
			ro := ship.ReadOptions{Identities: po.Identities}
			if got, err := read(t, s, made[:n], 1, 0, ro); got != n || err != nil {
				t.Fatalf("%d of %d entries, %v", got, n, err)
			}
			if r := verify(t, s, ro); len(r.Problems) > 0 {
				t.Fatal(r.Problems)
			}
		}
		if p := pack(t, s, made, po); p != (ship.Packed{}) {
			t.Errorf("packed again: %+v", p)
		}
		if k := keysOf(t, s, archive.KindPack); len(k) < 2 || len(keysOf(t, s, archive.KindFloor)) != 2 {
			t.Errorf("it has %v", keysOf(t, s))
		}
	}
}

// TestPackedFiles damages each file of a packed archive, as TestEverySingleFile.
func TestPackedFiles(t *testing.T) {
	made, s := lived(6), memory(t)
	shipped(t, s, made, small)
	pack(t, s, made, packs)
	f := filesOf(t, s)
	if len(keysOf(t, s, archive.KindPack)) != 2 || len(keysOf(t, s, archive.KindFloor)) != 2 {
		t.Fatalf("it has %v", keysOf(t, s))
	}
	for what, changed := range damages(f) {
		s := f.with(t, changed)
		everyReading(t, what, s, made, nil)
		found(t, what, verify(t, s), changed)
	}
}

// TestPackCutOff cuts every call off: at that moment everything can be read, and the
// next Pack ends where one that was not cut off does.
func TestPackCutOff(t *testing.T) {
	made, origin := lived(6), memory(t)
	shipped(t, origin, made, small)
	f := filesOf(t, origin)
	packed := f.with(t, nil)
	counted := objectstest.Count(packed)
	pack(t, counted, made, packs)
	want := keysOf(t, packed)
	calls := counted.Log()
	for n, call := range calls[:len(calls)-1] { // the last one lets go of the pin
		for _, how := range []objectstest.How{objectstest.Fail, objectstest.LoseAnswer, objectstest.LoseCall, objectstest.Stop} {
			s := f.with(t, nil)
			cut := objectstest.Count(s)
			cut.At(n, how)
			var err error
			for _, end := range historyOf(made) {
				if _, e := ship.Pack(background, cut, end.Timeline, packs); err == nil {
					err = e
				}
			}
			if (how == objectstest.Stop) != (err != nil) {
				t.Fatalf("call %d (%s), %d: %v", n, call, how, err)
			}
			whole(t, s, made, ship.Leftover)
			pack(t, s, made, packs)
			whole(t, s, made)
			now := slices.DeleteFunc(keysOf(t, s), func(k archive.Key) bool { return k.Kind == archive.KindPin }) // which end
			if !slices.Equal(now, want) {
				t.Fatalf("call %d (%s), %d: it has\n%v, not\n%v", n, call, how, now, want)
			}
		}
	}
}

// TestPackersAtOnce: packers, of different sizes, archivers and readers at once
// lose nothing.
func TestPackersAtOnce(t *testing.T) {
	made := lived(12)
	for range 5 {
		s := memory(t)
		shipped(t, s, made[:4], small)
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() {
				o := packs
				o.MinAppends += i
				for range 4 {
					for _, end := range historyOf(made) {
						_, err := ship.Pack(background, s, end.Timeline, o)
						if err != nil && !errors.Is(err, objects.ErrNotFound) {
							t.Error(err)
						}
					}
				}
			})
		}
		all.Go(func() {
			for range 10 {
				if n, err := read(t, s, made[:4], 1, 4, ship.ReadOptions{}); n != 4 || err != nil {
					t.Error(n, err)
				}
			}
		})
		all.Go(func() {
			for n := 5; n <= len(made); n++ {
				if _, err := run(background, s, made[:n], small); err != nil {
					t.Error(err)
				}
			}
		})
		all.Wait()
		shipped(t, s, made, small)
		whole(t, s, made, ship.Leftover)
	}
}

// TestPackAndStalled: a writer that stalled while its entries were shipped by another
// one and packed takes back what it put, and goes on where the archive ends.
func TestPackAndStalled(t *testing.T) {
	made := lived(8)[:8]
	s := memory(t)
	stalled, err := ship.Open(background, s, nil, small)
	ok(t, err)
	shipped(t, s, made, small)
	pack(t, s, made, packs)
	next := append(made[:8:8], lived(9)[8])
	ok(t, stalled.Run(background, source(next)))
	if k := keysOf(t, s, archive.KindAppend); len(k) != 1 || k[0].First != 9 {
		t.Errorf("it has %v", k)
	}
	whole(t, s, next)

	// Another history is no more adopted from a pack than from an append.
	a, b := copies(5, 9)
	s = memory(t)
	stalled, err = ship.Open(background, s, nil, small)
	ok(t, err)
	shipped(t, s, a, small)
	pack(t, s, a, packs)
	is(t, stalled.Run(background, source(b)), ship.ErrDiverged)
	whole(t, s, a)

	// One that is cut off at any call, also before it could take its append back.
	left := 0
	for n := range 8 {
		s := memory(t)
		cut := objectstest.Count(s)
		stalled, err := ship.Open(background, cut, nil, small)
		ok(t, err)
		shipped(t, s, made, small)
		pack(t, s, made, packs)
		cut.At(len(cut.Log())+n, objectstest.Stop)
		_ = stalled.Run(background, source(made)) // it is cut off, or done
		left += len(keysOf(t, s, archive.KindAppend))
		whole(t, s, made, ship.Leftover)
		shipped(t, s, made, small)
		pack(t, s, made, packs)
		whole(t, s, made)
	}
	if left == 0 {
		t.Error("no append was left below a floor")
	}
}

func TestPackRefuses(t *testing.T) {
	for _, o := range []ship.PackOptions{{MaxBytes: -1}, {MaxBytes: 1 << 40}, {MinAppends: 1}, {MinPacks: 1}, {Retry: objects.RetryOptions{Tries: -1}}} {
		if _, err := ship.Pack(background, memory(t), wal.TimelineID{1}, o); err == nil || errors.Is(err, objects.ErrNotFound) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	// Damage is left where it is.
	made, s := lived(6), memory(t)
	shipped(t, s, made, small)
	f := filesOf(t, s)
	for _, k := range keysOf(t, s, archive.KindAppend) {
		b := slices.Clone(f[k.String()])
		b[len(b)-1] ^= 1
		damaged := f.with(t, files{k.String(): b})
		var err error
		for _, end := range historyOf(made) {
			if _, e := ship.Pack(context.Background(), damaged, end.Timeline, packs); e != nil {
				err = e
			}
		}
		is(t, err, wal.ErrCorrupt)
		if !slices.Contains(keysOf(t, damaged), k) {
			t.Errorf("%s was deleted", k)
		}
	}
}

// TestPackWaitsForPrunes: while entries are deleted nothing is packed, and never what is
// below the trim.
func TestPackWaitsForPrunes(t *testing.T) {
	made, s := lived(12), memory(t)
	shipped(t, s, made, small)
	log := made[0].Entry.Timeline
	prune, err := pins.Hold(background, s, pins.Options{Kind: pins.Prune})
	ok(t, err)
	ctx, cancel := context.WithCancel(background)
	o := packs
	o.Pin.Sleep = func(ctx context.Context, _ time.Duration) error { cancel(); <-ctx.Done(); return ctx.Err() }
	_, err = ship.Pack(ctx, s, log, o)
	is(t, err, context.Canceled)
	trim := archive.Key{Kind: archive.KindTrim, Log: log, First: 7}
	ok(t, s.Put(background, trim.String(), objects.Bytes(archive.EncodeNote(trim))))
	ok(t, prune.Release(background))
	pack(t, s, made, packs)
	for _, k := range keysOf(t, s, archive.KindPack) {
		if k.Log == log && k.First < trim.First {
			t.Errorf("%s was packed", k)
		}
	}
	whole(t, s, made)
}

// TestKeepPacked: beside an archiver its appends become packs, and nothing is lost.
func TestKeepPacked(t *testing.T) {
	made, s := lived(20), memory(t)
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	a, err := ship.Open(ctx, s, nil, small)
	ok(t, err)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		a.KeepPacked(ctx, time.Millisecond, packs, func(err error) { t.Error(err) })
	}()
	ok(t, a.Run(ctx, source(made)))
	for len(keysOf(t, s, archive.KindPack)) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-kept
	n, err := read(t, s, made, 1, 0, ship.ReadOptions{})
	ok(t, err)
	if n != len(made) {
		t.Errorf("%d of %d entries", n, len(made))
	}
	o := small
	o.Seal.Recipients = []age.Recipient{new(age.X25519Recipient)}
	a, err = ship.Open(background, memory(t), nil, o)
	ok(t, err)
	a.KeepPacked(background, time.Millisecond, packs, func(error) {}) // returns, having no key
}
