package pagestore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/wal"
)

func newDraft(t testing.TB) (*Store, *Draft) {
	t.Helper()
	fsys, dir := vfs.OS(), t.TempDir()
	err := Create(fsys, dir, manifest.Facts{
		Store: uuid.UUID{1}, Timeline: wal.TimelineID{2}, Epoch: 1,
		Options: manifest.Options{Created: 1, PageSize: wal.DefaultPageSize, HeapFileBytes: 1 << 30},
	})
	if err == nil {
		err = fsys.Mkdir(filepath.Join(dir, "wal"))
	}
	if err != nil {
		t.Fatal(err)
	}
	s, d, err := Open(Options{FS: fsys, Dir: dir, CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, d
}

// commit applies an entry that changes nothing but what is known of requests.
func commit(t testing.TB, d *Draft, actor wal.ActorID, seq uint64) Outcome {
	t.Helper()
	if err := d.Admit(actor, seq); err != nil {
		t.Fatal(err)
	}
	lsn := d.Head.LSN + 1
	e := &wal.Entry{First: lsn, Last: lsn, Timeline: wal.TimelineID{2}, Epoch: 1, Txn: wal.TxnID{byte(lsn)},
		Time: int64(lsn) * 1000, Actor: actor, Seq: seq}
	hash := wal.Hash{byte(lsn), byte(lsn >> 8)}
	d.Advance(e, hash)
	return Outcome{Seq: seq, Txn: e.Txn, Time: e.Time, Position: wal.Position{Timeline: e.Timeline, LSN: lsn, Hash: hash}}
}

func cut(t testing.TB, d *Draft) *Snapshot {
	t.Helper()
	snap, err := d.Cut()
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func problems(t testing.TB, s *Snapshot) (found []string) {
	t.Helper()
	_, err := s.Check(func(Use) error { return nil }, func(err error) error {
		found = append(found, err.Error())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func actorNo(n int) wal.ActorID {
	return wal.ActorID{0, 0, byte(n >> 16), byte(n >> 8), byte(n), 1, 0x70}
}

// requestModel is all that ever committed: what the ring must be a window of.
type requestModel map[wal.ActorID][]Outcome

func (m requestModel) request(actor wal.ActorID, seq uint64) (r Request) {
	all := m[actor]
	if len(all) == 0 {
		return r
	}
	r.Last = all[len(all)-1].Seq
	if seq > r.Last {
		return r
	}
	kept := all[max(0, len(all)-RequestWindow):]
	r.Status = RequestPassed
	if seq < kept[0].Seq && len(all) > len(kept) {
		r.Status = RequestExpired
	}
	for _, o := range kept {
		if o.Seq == seq {
			r.Status, r.Outcome = RequestDone, o
		}
	}
	return r
}

// Random histories in random groups: the draft knows of each request at once, a
// snapshot of those before its Cut, and both what the model says.
func TestRequestsAgainstModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			_, d := newDraft(t)
			rng, model := rand.New(rand.NewPCG(seed, 5)), requestModel{}
			group := 1 + int(seed*seed*seed)*150 // to 4,050: more than a ring between two Cuts
			for range 9000 {
				actor := actorNo(1 + rng.IntN(4)*rng.IntN(2))
				o := commit(t, d, actor, model.request(actor, 0).Last+1+rng.Uint64N(3))
				model[actor] = append(model[actor], o)
				if rng.IntN(group) == 0 {
					compareRequest(t, d, cut(t, d), model, rng)
				}
				if rng.IntN(10) == 0 {
					compareRequest(t, d, nil, model, rng)
				}
			}
			snap := cut(t, d)
			for range 1000 {
				compareRequest(t, d, snap, model, rng)
			}
			if found := problems(t, snap); found != nil {
				t.Error(found)
			}
		})
	}
}

func compareRequest(t *testing.T, d *Draft, snap *Snapshot, model requestModel, rng *rand.Rand) {
	t.Helper()
	actor := actorNo(1 + rng.IntN(5))
	last := model.request(actor, 0).Last
	for _, seq := range []uint64{1 + rng.Uint64N(last+2), last - min(last, rng.Uint64N(3000)), last} {
		want := model.request(actor, max(seq, 1))
		got, err := d.Request(actor, max(seq, 1))
		if err != nil || got != want {
			t.Fatalf("the draft knows of request %d: %+v, %v\nwant %+v", seq, got, err, want)
		}
		if snap == nil {
			continue
		}
		if got, err := snap.Request(actor, max(seq, 1)); err != nil || got != want {
			t.Fatalf("the snapshot knows of request %d: %+v, %v\nwant %+v", seq, got, err, want)
		}
	}
}

// Who is evicted depends on LSNs and not on how entries are grouped, and
// nothing of an evicted actor stays.
func TestEvictionIsTheSameInEveryGrouping(t *testing.T) {
	var all []string
	for _, group := range []int{97, 1 << 30} {
		_, d := newDraft(t)
		rng := rand.New(rand.NewPCG(8, 8))
		for i := range MaxActors + 600 {
			commit(t, d, actorNo(i+1), 1)
			for range rng.IntN(3) {
				recent := actorNo(1 + i - rng.IntN(min(i+1, 9000)))
				r, err := d.Request(recent, 1<<40)
				if err == nil && r.Status == RequestNew {
					commit(t, d, recent, r.Last+1)
				}
			}
			if i%group == group-1 {
				cut(t, d)
			}
		}
		snap := cut(t, d)
		if found := problems(t, snap); found != nil {
			t.Fatal(found)
		}
		all = append(all, dump(t, snap))
	}
	if all[0] != all[1] {
		t.Error("the catalogues differ")
	}
}

// dump is all of the catalogue.
func dump(t testing.TB, s *Snapshot) string {
	t.Helper()
	var b strings.Builder
	for it, err := range s.cat.Scan(s.store.nodes, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%x=%x\n", it.Key, it.Value)
	}
	return b.String()
}

// A request that was admitted and refused after all leaves nothing behind.
func TestAdmittedAndNotCommitted(t *testing.T) {
	_, d := newDraft(t)
	commit(t, d, actorNo(1), 1)
	before := dump(t, cut(t, d))
	for _, actor := range []wal.ActorID{actorNo(1), actorNo(2)} {
		if err := d.Admit(actor, 2); err != nil {
			t.Fatal(err)
		}
	}
	if after := dump(t, cut(t, d)); after != before {
		t.Errorf("%s\nbecame\n%s", before, after)
	}
	if err := d.Admit(actorNo(1), 1); err == nil {
		t.Error("a request that has committed is admitted")
	}
}

// Check finds every record that is wrong, missing, or too many.
func TestCheckKnowsRequests(t *testing.T) {
	a, b := actorNo(1), actorNo(2)
	for name, spoil := range map[string]func(put func(string, []byte), remove func(string)){
		"no outcome":        func(_ func(string, []byte), remove func(string)) { remove(outcomeKey(a, 2)) },
		"no place in queue": func(_ func(string, []byte), remove func(string)) { remove(queueKey(3)) },
		"no actor":          func(_ func(string, []byte), remove func(string)) { remove(actorKey(b)) },
		"no summary":        func(_ func(string, []byte), remove func(string)) { remove(keyActors) },
		"summary":           func(put func(string, []byte), _ func(string)) { put(keyActors, actorsRecord{Count: 3}.encode()) },
		"another's place":   func(put func(string, []byte), _ func(string)) { put(queueKey(3), bytes.Clone(b[:])) },
		"place too many":    func(put func(string, []byte), _ func(string)) { put(queueKey(2), bytes.Clone(b[:])) },
		"place of nobody":   func(put func(string, []byte), _ func(string)) { put(queueKey(3), []byte("x")) },
		"last":              func(put func(string, []byte), _ func(string)) { put(actorKey(a), actorRecord{5, 3, 3}.encode()) },
		"count":             func(put func(string, []byte), _ func(string)) { put(actorKey(a), actorRecord{3, 2, 3}.encode()) },
		"outcome too many":  func(put func(string, []byte), _ func(string)) { put(outcomeKey(a, 9), encodeOutcome(nil)) },
		"outcome":           func(put func(string, []byte), _ func(string)) { put(outcomeKey(a, 2), encodeOutcome(nil)) },
		"seqs that fall": func(put func(string, []byte), _ func(string)) {
			o := outcomeRecord{2, Outcome{Seq: 9, Position: wal.Position{LSN: 2}, Time: 2000}}
			put(outcomeKey(a, 2), o.encode())
		},
		"garbage":     func(put func(string, []byte), _ func(string)) { put(actorKey(a), []byte{1}) },
		"unknown":     func(put func(string, []byte), _ func(string)) { put("?", []byte{1}); put("!", []byte{1}) },
		"odd actor":   func(put func(string, []byte), _ func(string)) { put("a?", actorRecord{1, 1, 1}.encode()) },
		"nothing bad": nil,
	} {
		t.Run(name, func(t *testing.T) {
			s, d := newDraft(t)
			for seq := range uint64(3) {
				commit(t, d, a, seq+1)
			}
			commit(t, d, b, 1)
			snap := cut(t, d)
			e := catalogue.Edit{Epoch: 100, LSN: 4, Source: s.nodes, Dead: d.died}
			if spoil != nil {
				spoil(func(key string, v []byte) {
					if err := e.Put(&snap.cat, key, catalogue.Raw(v)); err != nil {
						t.Fatal(err)
					}
				}, func(key string) {
					if _, err := e.Delete(&snap.cat, key); err != nil {
						t.Fatal(err)
					}
				})
			}
			if found := problems(t, snap); (spoil == nil) != (found == nil) {
				t.Errorf("found %q", found)
			}
		})
	}
}

// An outcome that lies in another's place is corruption, not "never committed".
func TestDamagedOutcomeIsAnError(t *testing.T) {
	s, d := newDraft(t)
	for seq := range uint64(5) {
		commit(t, d, actorNo(1), seq+1)
	}
	snap := cut(t, d)
	e := catalogue.Edit{Epoch: 100, LSN: 6, Source: s.nodes, Dead: d.died}
	if err := e.Put(&snap.cat, outcomeKey(actorNo(1), 3), catalogue.Raw(encodeOutcome(nil))); err != nil {
		t.Fatal(err)
	}
	if r, err := snap.Request(actorNo(1), 3); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("%+v, %v", r, err)
	}
}

// Cost of recording a request, in groups of 16, with the ring full.
func BenchmarkRequest(b *testing.B) {
	for _, known := range []int{0, 1, 1000} {
		b.Run(fmt.Sprintf("actors=%d", known), func(b *testing.B) {
			_, d := newDraft(b)
			for i := range b.N {
				lsn := d.Head.LSN + 1
				e := &wal.Entry{First: lsn, Last: lsn, Time: int64(lsn)}
				if known > 0 {
					e.Actor, e.Seq = actorNo(1+i%known), uint64(i+1)
					if r, err := d.Request(e.Actor, e.Seq); err != nil || r.Status != RequestNew {
						b.Fatal(r, err)
					}
					if err := d.Admit(e.Actor, e.Seq); err != nil {
						b.Fatal(err)
					}
				}
				d.Advance(e, wal.Hash{})
				if i%16 == 15 {
					cut(b, d)
				}
			}
		})
	}
}
