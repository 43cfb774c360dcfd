package apply_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// sent is a request that committed.
type sent struct {
	actor wal.ActorID
	seq   uint64
	at    wal.Position
}

// logOfRequests is a log in which some entries are requests, some empty.
func logOfRequests(t testing.TB) (dir string, requests []sent) {
	t.Helper()
	dir = t.TempDir()
	m, _, err := txn.Open(dir, txn.Options{Create: true, CheckpointEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	actors := []wal.ActorID{{}, m.NewActor(), m.NewActor()}
	for i := range uint64(60) {
		o := txn.TxOptions{Actor: actors[i%3]}
		if i%3 > 0 {
			o.Seq, o.RequestDigest = i, []byte{byte(i)}
		}
		c, err := m.UpdateWith(context.Background(), o, func(tx *txn.Tx) error {
			if i%5 == 4 {
				return nil
			}
			_, err := tx.CreateVolume(strings.Repeat("v", int(i+1)), txn.VolumeOptions{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if o.Seq != 0 {
			requests = append(requests, sent{o.Actor, o.Seq, c.Position})
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, requests
}

// known checks that the draft knows all requests up to its LSN and no other.
func (r *replayer) known(requests []sent) {
	r.t.Helper()
	for _, s := range requests {
		got, err := r.draft.Request(s.actor, s.seq)
		if err != nil {
			r.t.Fatal(err)
		}
		if s.at.LSN > r.draft.Head.LSN {
			if got.Status != pagestore.RequestNew {
				r.t.Errorf("request %d at LSN %d: %v", s.seq, r.draft.Head.LSN, got.Status)
			}
			continue
		}
		if r.t.Failed() {
			return
		}
		if got.Status != pagestore.RequestDone || got.Outcome.Position != s.at || got.Outcome.Digest != pagestore.DigestRequest([]byte{byte(s.seq)}) {
			r.t.Errorf("request %d: %+v, want %+v", s.seq, got, s)
		}
	}
}

// Replay makes the outcomes that sequencing made, entry by entry, and an entry
// that is applied twice is one request.
func TestReplayMakesOutcomes(t *testing.T) {
	dir, requests := logOfRequests(t)
	r := replay(t, dir)
	r.each(func(e *wal.Entry, h wal.Hash, b apply.Body) error {
		if err := errors.Join(apply.Entry(r.draft, e, h, b), apply.Entry(r.draft, e, h, b)); err != nil {
			return err
		}
		r.known(requests)
		if e.First%7 == 0 {
			r.states() // the end of a group
			r.known(requests)
		}
		return nil
	})
}

// An entry whose request is not new here does not fit: nothing changes.
func TestRequestThatIsNotNew(t *testing.T) {
	dir, requests := logOfRequests(t)
	for name, form := range map[string]func(*wal.Entry) bool{
		"again":  func(e *wal.Entry) bool { return previous(requests, e, func(s sent) { e.Seq = s.seq }) },
		"passed": func(e *wal.Entry) bool { return previous(requests, e, func(s sent) { e.Seq = s.seq + 1 }) },
		"below":  func(e *wal.Entry) bool { return previous(requests, e, func(sent) { e.Seq = 1 }) },
	} {
		t.Run(name, func(t *testing.T) {
			r, refused := replay(t, dir), 0
			r.each(func(e *wal.Entry, h wal.Hash, b apply.Body) error {
				if bad := copyOf(t, e); form(bad) {
					before := r.draft.Head
					refusal(t, bad, apply.Entry(r.draft, bad, h, b))
					if r.draft.Head != before {
						t.Errorf("LSN %d was refused, and is the head", e.First)
					}
					refused++
				}
				err := apply.Entry(r.draft, e, h, b)
				r.known(requests)
				return err
			})
			if refused == 0 {
				t.Error("no entry was tried")
			}
		})
	}
}

// previous calls f with a request of the entry's actor that has been followed by
// another before the entry, if any.
func previous(requests []sent, e *wal.Entry, f func(sent)) bool {
	before := 0
	for _, s := range requests {
		if s.actor == e.Actor && s.at.LSN < e.First {
			before++
		}
	}
	for _, s := range requests {
		if s.actor == e.Actor && before > 1 {
			f(s)
			return true
		}
	}
	return false
}
