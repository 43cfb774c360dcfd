package txn_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/quire-db/quire/tests/verifytest"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// TestTipsInRandomHistories: tags and forks, of what is current, tagged or only
// held, several in one transaction, beside writes, deletions, refused
// transactions and checkpoints. The store reads as a model does, also when it
// was opened again and the log replayed, and nothing leaks.
func TestTipsInRandomHistories(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { newTipRig(t, seed).run(150) })
	}
}

// content is the model of a state of a volume.
type content struct {
	size  uint64
	pages map[uint64]uint64 // values
}

func (c content) clone() content { return content{c.size, maps.Clone(c.pages)} }

// tips is the model of a volume.
type tips struct {
	now  content
	tags map[string]content // never changed
}

type tipState map[string]tips

func (s tipState) clone() tipState {
	c := tipState{}
	for name, v := range s {
		c[name] = tips{v.now.clone(), maps.Clone(v.tags)}
	}
	return c
}

// heldTips is an open transaction, and what it reads.
type heldTips struct {
	tx   *txn.Tx
	want tipState
}

type tipRig struct {
	*rig
	rand  *rand.Rand
	state tipState
	held  []heldTips
	value uint64
	names int
}

func newTipRig(t *testing.T, seed uint64) *tipRig {
	o := txn.Options{GenerationBytes: wal.MinGenerationBytes, CheckpointEvery: -1, CacheBytes: 64 << 10, TxTimeout: time.Hour}
	return &tipRig{rig: newRig(t, o), rand: rand.New(rand.NewPCG(seed, 3)), state: tipState{}}
}

func (r *tipRig) run(steps int) {
	for range steps {
		switch n := r.rand.IntN(24); {
		case n < 15:
			r.transaction(r.change)
		case n < 17:
			r.branch()
		case n < 18:
			r.refused()
		case n < 20:
			r.checkpoint()
		case n < 21:
			r.hold()
		case n < 22:
			r.letGo()
		case n < 23:
			r.compare()
		default:
			r.closeAndOpen()
		}
	}
	r.closeAndOpen()
	r.transaction(func(s *tipStep) {
		for name := range s.state {
			s.must(s.tx.DeleteVolume(name))
			delete(s.state, name)
		}
	})
	for range 3 {
		if _, err := r.Collect(context.Background()); err != nil {
			r.t.Fatal(err)
		}
	}
	r.compare()
}

func (r *tipRig) closeAndOpen() {
	r.held = nil
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	if rep := verifytest.Clean(r.t, r.dir); rep.Slots.Leaked != 0 {
		r.t.Errorf("%d slots leaked", rep.Slots.Leaked)
	}
	r.rig.open()
	r.compare()
}

func (r *tipRig) hold() {
	r.held = append(r.held, heldTips{r.begin(txn.TxOptions{ReadOnly: r.rand.IntN(2) == 0}), r.state.clone()})
}

func (r *tipRig) letGo() {
	if len(r.held) > 0 {
		r.held[0].tx.Rollback()
		r.held = r.held[1:]
	}
}

// compare reads everything, now and in what is held.
func (r *tipRig) compare() {
	r.t.Helper()
	for _, h := range r.held {
		r.same(h.tx, h.want)
	}
	if err := r.View(context.Background(), func(tx *txn.Tx) error { r.same(tx, r.state); return nil }); err != nil {
		r.t.Fatal(err)
	}
}

func (r *tipRig) same(tx *txn.Tx, want tipState) {
	r.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		v, err := tx.Volume(name)
		r.check(err)
		r.sameContent(v, want[name].now)
		n := 0
		for tag, err := range tx.Tags(name) {
			r.check(err)
			kept, ok := want[name].tags[tag.Name]
			if !ok {
				r.t.Fatalf("LSN %d: volume %q has a tag %q", tx.LSN(), name, tag.Name)
			}
			at, err := tx.At(name, tag.Name)
			r.check(err)
			r.sameContent(at, kept)
			n++
		}
		if n != len(want[name].tags) {
			r.t.Fatalf("LSN %d: volume %q has %d tags, want %d", tx.LSN(), name, n, len(want[name].tags))
		}
	}
}

func (r *tipRig) sameContent(v *txn.Volume, want content) {
	r.t.Helper()
	size, err := v.Size()
	r.check(err)
	n := 0
	for p, err := range v.Pages(0, wal.MaxPages) {
		r.check(err)
		if got := valueIn(p.Data); got != want.pages[p.No] || got == 0 {
			r.t.Fatalf("page %d of %q is %d, want %d", p.No, v.Name(), got, want.pages[p.No])
		}
		n++
	}
	if size != want.size || n != len(want.pages) {
		r.t.Fatalf("%q has %d pages, %d present, want %d and %d", v.Name(), size, n, want.size, len(want.pages))
	}
}

func (r *tipRig) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// tipStep is a transaction, and what it makes of the model.
type tipStep struct {
	*tipRig
	tx    *txn.Tx
	state tipState
	busy  map[string]bool // volumes and tags that are changed
	base  map[string]bool // from which something begins
}

// transaction commits what f does.
func (r *tipRig) transaction(f func(*tipStep)) {
	r.t.Helper()
	o := txn.TxOptions{Isolation: txn.Isolation(r.rand.IntN(2)), Durability: txn.Durability(r.rand.IntN(2))}
	s := r.step(o)
	f(s)
	if _, err := s.tx.Commit(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	r.state = s.state
}

func (r *tipRig) step(o txn.TxOptions) *tipStep {
	return &tipStep{r, r.begin(o), r.state.clone(), map[string]bool{}, map[string]bool{}}
}

// refused sets a tag, forks and writes, in vain: a tag that it forks moves first.
func (r *tipRig) refused() {
	var name, tag string
	for n, v := range r.state {
		for t := range v.tags {
			name, tag = n, t
		}
	}
	if name == "" {
		return
	}
	s := r.step(txn.TxOptions{})
	at, err := s.tx.At(name, tag)
	s.must(err)
	_, err = s.tx.Fork("refused", at)
	s.must(err)
	s.base[name+"@"+tag] = true
	s.change(s)
	r.transaction(func(s *tipStep) {
		v, err := s.tx.Volume(name)
		s.must(err)
		s.must(s.tx.SetTag(v, tag, v))
		s.state[name].tags[tag] = s.state[name].now.clone()
	})
	if _, err := s.tx.Commit(context.Background()); !errors.Is(err, txn.ErrConflict) {
		r.t.Fatalf("a fork of a tag that moved: %v", err)
	}
}

func (s *tipStep) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// pick draws one of the volumes; ok is false when there is none.
func (r *tipRig) pick(s tipState) (string, bool) {
	if len(s) == 0 {
		return "", false
	}
	names := slices.Sorted(maps.Keys(s))
	return names[r.rand.IntN(len(names))], true
}

// source draws something to begin from, and its label.
func (r *tipRig) source(s tipState) (name, tag, label string, c content) {
	name, ok := r.pick(s)
	if !ok {
		return "", "", "", c
	}
	if tags := slices.Sorted(maps.Keys(s[name].tags)); len(tags) > 0 && r.rand.IntN(2) == 0 {
		tag := tags[r.rand.IntN(len(tags))]
		return name, tag, name + "@" + tag, s[name].tags[tag]
	}
	return name, "", name, s[name].now
}

func (r *tipRig) open(tx *txn.Tx, name, tag string) (v *txn.Volume) {
	r.t.Helper()
	v, err := tx.Volume(name)
	if tag != "" {
		v, err = tx.At(name, tag)
	}
	r.check(err)
	return v
}

// change does one to four things.
func (r *tipRig) change(s *tipStep) {
	for range 1 + r.rand.IntN(4) {
		name, ok := r.pick(s.state)
		switch n := r.rand.IntN(12); {
		case !ok || n == 0 && len(s.state) < 6:
			s.create()
		case n < 6:
			s.write(name)
		case n < 8:
			s.fork()
		case n < 10:
			s.setTag(name)
		case n < 11:
			s.deleteTag(name)
		case len(s.state) > 3 && r.state[name].tags != nil:
			s.must(s.tx.DeleteVolume(name))
			delete(s.state, name)
			s.busy[name] = true
		}
	}
}

func (s *tipStep) fresh() string {
	s.names++
	return fmt.Sprint("v", s.names)
}

func (s *tipStep) create() {
	name := s.fresh()
	_, err := s.tx.CreateVolume(name, txn.VolumeOptions{})
	s.must(err)
	s.state[name] = tips{content{0, map[uint64]uint64{}}, map[string]content{}}
	s.busy[name] = true
	s.write(name)
}

func (s *tipStep) write(name string) {
	c := s.state[name].now
	if s.base[name] || s.busy["fork "+name] {
		return
	}
	s.busy[name] = true
	v, err := s.tx.Volume(name)
	s.must(err)
	for range 1 + s.rand.IntN(9) {
		no := s.rand.Uint64N(140)
		switch s.rand.IntN(12) {
		case 0:
			s.must(v.Truncate(no))
			c.size = no
			maps.DeleteFunc(c.pages, func(p, _ uint64) bool { return p >= no })
		case 1, 2:
			s.must(v.DiscardPage(no))
			delete(c.pages, no)
		default:
			s.value++
			s.must(v.WritePage(no, pageOf(s.value)))
			c.pages[no], c.size = s.value, max(c.size, no+1)
		}
	}
	s.state[name] = tips{c, s.state[name].tags}
}

// begin draws a source that the transaction does not change.
func (s *tipStep) begin() (*txn.Volume, content, bool) {
	name, tag, label, c := s.source(s.tipRig.state)
	if _, there := s.state[name]; !there || s.busy[label] {
		return nil, c, false
	}
	s.base[label] = true
	return s.tipRig.open(s.tx, name, tag), c.clone(), true
}

func (s *tipStep) fork() {
	if len(s.state) > 8 {
		return
	}
	from, c, ok := s.begin()
	if !ok {
		return
	}
	name := s.fresh()
	_, err := s.tx.Fork(name, from)
	s.must(err)
	s.busy["fork "+name], s.busy[name] = true, true
	s.state[name] = tips{c, map[string]content{txn.OriginTag: c}}
}

func (s *tipStep) setTag(name string) {
	tag := []string{"x", "y", "z"}[s.rand.IntN(3)]
	if s.base[name+"@"+tag] || s.busy["fork "+name] {
		return
	}
	from, c, ok := s.begin()
	if !ok || s.base[name+"@"+tag] {
		return
	}
	s.busy[name+"@"+tag] = true
	v, err := s.tx.Volume(name)
	s.must(err)
	s.must(s.tx.SetTag(v, tag, from))
	s.state[name].tags[tag] = c
}

func (s *tipStep) deleteTag(name string) {
	tags := slices.Sorted(maps.Keys(s.state[name].tags))
	if len(tags) == 0 || s.busy["fork "+name] {
		return
	}
	tag := tags[s.rand.IntN(len(tags))]
	v, err := s.tx.Volume(name)
	s.must(err)
	s.must(s.tx.DeleteTag(v, tag))
	s.busy[name+"@"+tag] = true
	delete(s.state[name].tags, tag)
}

// branch forks or tags what an open transaction reads.
func (r *tipRig) branch() {
	if len(r.held) == 0 {
		return
	}
	h := r.held[r.rand.IntN(len(r.held))]
	of, tag, _, c := r.source(h.want)
	if of == "" {
		return
	}
	from := r.open(h.tx, of, tag)
	ctx := context.Background()
	if name, ok := r.pick(r.state); ok && r.rand.IntN(2) == 0 {
		_, err := r.SetTag(ctx, name, "carried", from)
		r.check(err)
		r.state[name].tags["carried"] = c.clone()
		return
	}
	r.names++
	name := fmt.Sprint("v", r.names)
	_, err := r.Fork(ctx, name, from)
	r.check(err)
	r.state[name] = tips{c.clone(), map[string]content{}}
	r.check(r.View(ctx, func(tx *txn.Tx) error { // a fork of nothing has no origin
		at, err := tx.At(name, txn.OriginTag)
		if errors.Is(err, txn.ErrNoTag) {
			return nil
		}
		if err == nil {
			r.state[name].tags[txn.OriginTag] = r.contentOf(at)
		}
		return err
	}))
}

func (r *tipRig) contentOf(v *txn.Volume) content {
	size, err := v.Size()
	r.check(err)
	c := content{size, map[uint64]uint64{}}
	for p, err := range v.Pages(0, wal.MaxPages) {
		r.check(err)
		c.pages[p.No] = valueIn(p.Data)
	}
	return c
}
