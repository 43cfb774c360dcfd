package catalogue_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/catalogue"
	"github.com/quire-db/quire/apply/pagestore/node"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
	"pgregory.net/rapid"
)

// live is a value that only becomes Raw at Rebase, as a page tree does.
type live struct{ bytes []byte }

func (v *live) Size() int                { return len(v.bytes) }
func (v *live) Append(dst []byte) []byte { return append(dst, v.bytes...) }

func clean(v catalogue.Value) catalogue.Value {
	if l, ok := v.(*live); ok {
		return catalogue.Raw(l.bytes)
	}
	return v
}

func text(v catalogue.Value) string { return string(v.Append(nil)) }

// snapshot is a catalogue and what it must hold.
type snapshot struct {
	cat  catalogue.Catalogue
	want map[string]string
	next wal.LSN // of the first change that is not in it
}

// since makes of what an earlier snapshot holds what s holds.
func (s snapshot) since(t testing.TB, src node.Source, past snapshot, from, to string) {
	t.Helper()
	within := func(k string) bool { return k >= from && (to == "" || k < to) }
	got := map[string]string{}
	last := ""
	for c, err := range s.cat.Since(src, from, to, past.next) {
		if err != nil {
			t.Fatal(err)
		}
		first, end := c.Key, c.Key
		if c.Kept() {
			first, end = c.First, c.Last
		} else {
			got[c.Key] = text(c.Value)
		}
		if first <= last || end < first || !within(first) || !within(end) {
			t.Fatalf("from %q to %q comes behind %q", first, end, last)
		}
		last = end
		for k, v := range past.want {
			if c.Kept() && k >= c.First && k <= c.Last {
				got[k] = v
			}
		}
	}
	want := maps.Clone(s.want)
	maps.DeleteFunc(want, func(k, _ string) bool { return !within(k) })
	if !maps.Equal(got, want) {
		t.Fatalf("%d of %d items since LSN %d", len(got), len(want), past.next)
	}
}

func (s snapshot) check(t testing.TB, src node.Source) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(s.want))
	i := 0
	for item, err := range s.cat.Scan(src, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if i == len(keys) || item.Key != keys[i] || text(item.Value) != s.want[item.Key] {
			t.Fatalf("item %d is %q, want one of %d keys", i, item.Key, len(keys))
		}
		i++
	}
	if i != len(keys) {
		t.Fatalf("scan yields %d items, want %d", i, len(keys))
	}
}

// world is a catalogue, its model and the versions readers still hold.
type world struct {
	*store
	edit catalogue.Edit
	snapshot
	held []snapshot
}

func newWorld() *world {
	w := &world{store: newStore(), snapshot: snapshot{want: map[string]string{}}}
	w.edit = catalogue.Edit{Epoch: 1, LSN: 1, Source: w.store, Dead: w.store.Dead}
	return w
}

// publish closes the epoch: what is held from now on never changes.
func (w *world) publish() snapshot {
	w.edit.Epoch++
	w.edit.LSN++
	return snapshot{w.cat, maps.Clone(w.want), w.edit.LSN}
}

func (w *world) put(t testing.TB, key string, v catalogue.Value) {
	t.Helper()
	w.edit.LSN++
	if err := w.edit.Put(&w.cat, key, v); err != nil {
		t.Fatal(err)
	}
	w.want[key] = text(v)
}

func (w *world) delete(t testing.TB, key string) {
	t.Helper()
	w.edit.LSN++
	_, had := w.want[key]
	if ok, err := w.edit.Delete(&w.cat, key); err != nil || ok != had {
		t.Fatalf("delete %q: %v, %v, want %v", key, ok, err, had)
	}
	delete(w.want, key)
}

// checkpoint writes the version it finds; while runs before Freeze, since
// sequencing is ahead of publishing, and again before Write.
func (w *world) checkpoint(t testing.TB, while func()) {
	t.Helper()
	frozen := w.publish()
	while()
	if err := frozen.cat.Freeze(w.Alloc, w.Dead); err != nil {
		t.Fatal(err)
	}
	while()
	if err := frozen.cat.Write(w.Write); err != nil {
		t.Fatal(err)
	}
	var memo catalogue.Memo
	for i := range w.held {
		w.held[i].cat = w.held[i].cat.Rebase(clean, &memo)
	}
	w.cat = w.cat.Rebase(clean, &memo)
	reopened := snapshot{catalogue.FromRoot(frozen.cat.Root()), frozen.want, frozen.next}
	reopened.check(t, w.store)
	frozen.check(t, w.store)
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		key := rapid.Custom(func(rt *rapid.T) string {
			return strings.Repeat("k", rapid.IntRange(0, 3).Draw(rt, "wide")*90) + fmt.Sprint(rapid.IntRange(0, 400).Draw(rt, "key"))
		})
		step := func(rt *rapid.T) {
			for range rapid.IntRange(1, 60).Draw(rt, "many") {
				k := key.Draw(rt, "k")
				size := rapid.SampledFrom([]int{0, 3, 40, 300, 1024}).Draw(rt, "size")
				switch {
				case rapid.IntRange(0, 2).Draw(rt, "op") == 0:
					w.delete(t, k)
				case size == 40:
					w.put(t, k, &live{bytes.Repeat([]byte{byte(w.edit.LSN)}, size)})
				default:
					w.put(t, k, catalogue.Raw(bytes.Repeat([]byte{byte(w.edit.LSN)}, size)))
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"edit":  step,
			"purge": func(rt *rapid.T) { purge(rt, t, w) },
			"hold":  func(rt *rapid.T) { w.held = append(w.held, w.publish()) },
			"drop": func(rt *rapid.T) {
				if len(w.held) > 0 {
					w.held = slices.Delete(w.held, 0, 1)
				}
			},
			"checkpoint": func(rt *rapid.T) { w.checkpoint(t, func() { step(rt); w.held = append(w.held, w.publish()) }) },
			"": func(rt *rapid.T) {
				w.check(t, w.store)
				w.since(t, w.store, snapshot{}, "", "")
				for i, h := range w.held {
					h.check(t, w.store)
					if i == 0 || i == len(w.held)-1 {
						w.since(t, w.store, h, "", "")
						w.since(t, w.store, h, "2", "kk")
					}
				}
				w.account(t, w.cat)
			},
		})
	})
}

// purge deletes a range, so that nodes merge and the tree becomes lower.
func purge(rt *rapid.T, t testing.TB, w *world) {
	keys := slices.Sorted(maps.Keys(w.want))
	if len(keys) == 0 {
		return
	}
	from := rapid.IntRange(0, len(keys)-1).Draw(rt, "from")
	for _, k := range keys[from:] {
		w.delete(t, k)
	}
}

func TestHundredThousandKeys(t *testing.T) {
	w := newWorld()
	const n = 100_000
	rng := rand.New(rand.NewPCG(1, 2))
	key := func(i int) string { // every other is long, so that inner nodes are narrow
		return fmt.Sprintf("volume/%s%08x/tip", strings.Repeat("x", i%2*250), uint32(i)*2654435761)
	}
	value := func(i int) catalogue.Raw { return fmt.Appendf(nil, "%0*d", i%120, i) }
	for i := range n {
		w.put(t, key(i), value(i))
		if i%25_000 == 0 {
			w.checkpoint(t, func() { w.put(t, key(i), &live{[]byte("x")}) })
		}
	}
	w.checkpoint(t, func() {})
	w.held = append(w.held, w.publish())
	for _, i := range rng.Perm(n)[:n/2] {
		w.delete(t, key(i))
	}
	w.checkpoint(t, func() {})
	w.check(t, w.store)
	w.held[0].check(t, w.store)
	w.account(t, w.cat)
	for range 1000 {
		k := key(rng.IntN(n))
		want, ok := w.want[k]
		v, found, err := w.cat.Get(w.store, k)
		if err != nil || found != ok || ok && text(v) != want {
			t.Fatalf("get %q: %v %v %v", k, v, found, err)
		}
	}
	for k := range w.held[0].want {
		w.delete(t, k)
	}
	if !w.cat.Empty() || !(node.Ref{} == w.cat.Root()) {
		t.Fatal("not empty after the last key was deleted")
	}
	w.account(t, w.cat)
}

func TestScanRange(t *testing.T) {
	w := newWorld()
	for i := range 3000 {
		w.put(t, fmt.Sprintf("%05d", 2*i), catalogue.Raw("some value that takes room"))
	}
	w.checkpoint(t, func() {})
	keys := slices.Sorted(maps.Keys(w.want))
	for from := 0; from < 6100; from += 77 {
		for _, width := range []int{0, 1, 2, 150, 7000} {
			lo, hi := fmt.Sprintf("%05d", from), fmt.Sprintf("%05d", from+width)
			i, _ := slices.BinarySearch(keys, lo)
			j, _ := slices.BinarySearch(keys, hi)
			var got []string
			for item, err := range w.cat.Scan(w.store, lo, hi) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, item.Key)
			}
			if !slices.Equal(got, keys[i:j]) {
				t.Fatalf("scan %s to %s: %d keys, want %d", lo, hi, len(got), j-i)
			}
		}
	}
	for range w.cat.Scan(w.store, "", "") {
		break
	}
}

func TestDirtyFindsEveryChange(t *testing.T) {
	w := newWorld()
	for i := range 2000 {
		w.put(t, fmt.Sprint(i), catalogue.Raw("value"))
	}
	w.checkpoint(t, func() {})
	for range w.cat.Dirty() {
		t.Fatal("dirty right after a checkpoint")
	}
	w.put(t, "1234", &live{[]byte("alive")})
	items, found := 0, false
	for item := range w.cat.Dirty() {
		items++
		found = found || item.Key == "1234" && text(item.Value) == "alive"
	}
	if !found || items > 400 {
		t.Fatalf("%d dirty items, the changed one among them: %v", items, found)
	}
}

// A failing disk leaves the catalogue as it was and nothing dead.
func TestErrorsChangeNothing(t *testing.T) {
	w := newWorld()
	for i := range 4000 {
		w.put(t, fmt.Sprintf("%05d", i), catalogue.Raw("a value of some length, to fill the nodes"))
	}
	w.checkpoint(t, func() {})
	for i := 0; i < 4000; i += 2 { // leave nodes that want to merge
		w.delete(t, fmt.Sprintf("%05d", i))
	}
	w.checkpoint(t, func() {})
	before := w.publish()
	for budget := range 8 {
		for i := 1; i < 4000; i += 31 {
			c, dead := before.cat, len(w.dead)
			w.budget = budget
			var err error
			if i%2 == 0 {
				err = w.edit.Put(&c, fmt.Sprintf("%05d", i), catalogue.Raw("new"))
			} else {
				_, err = w.edit.Delete(&c, fmt.Sprintf("%05d", i))
			}
			w.budget = -1
			if err == nil {
				clear(w.dead) // of the version just dropped
			} else if !errors.Is(err, errDisk) || len(w.dead) != dead || c != before.cat {
				t.Fatalf("after %d loads: %v, %d dead, catalogue changed: %v", budget, err, len(w.dead)-dead, c != before.cat)
			}
			w.cache = map[heap.Slot]any{}
		}
	}
	before.check(t, w.store)
}

// Freeze and Write go on where an error stopped them.
func TestCheckpointAgainAfterErrors(t *testing.T) {
	w := newWorld()
	for i := range 3000 {
		w.put(t, fmt.Sprintf("%05d", i), catalogue.Raw("a value of some length, to fill the nodes"))
	}
	tries, done := 0, 0
	few := func() error { // fails after ten nodes
		if done++; done%10 == 0 {
			return errDisk
		}
		return nil
	}
	alloc := func(c heap.Class) (heap.Slot, error) {
		if err := few(); err != nil {
			return 0, err
		}
		return w.Alloc(c)
	}
	write := func(s heap.Slot, b []byte) error {
		if err := few(); err != nil {
			return err
		}
		return w.Write(s, b)
	}
	c := w.publish()
	for ; c.cat.Freeze(alloc, w.Dead) != nil; tries++ {
		if tries == 1 {
			w.delete(t, "00001") // in a node that has its slot already
		}
	}
	for ; c.cat.Write(write) != nil; tries++ {
	}
	if tries < 4 {
		t.Fatal("no errors met")
	}
	snapshot{catalogue.FromRoot(c.cat.Root()), c.want, 0}.check(t, w.store)
	w.cat = w.cat.Rebase(clean, new(catalogue.Memo))
	w.checkpoint(t, func() {})
	w.account(t, w.cat)
}

func TestBounds(t *testing.T) {
	w := newWorld()
	long := strings.Repeat("k", catalogue.MaxKey)
	w.put(t, long, catalogue.Raw(make([]byte, catalogue.MaxValue)))
	if err := w.edit.Put(&w.cat, long+"k", catalogue.Raw("v")); !errors.Is(err, wal.ErrTooLarge) {
		t.Error(err)
	}
	if err := w.edit.Put(&w.cat, "k", make(catalogue.Raw, catalogue.MaxValue+1)); !errors.Is(err, wal.ErrTooLarge) {
		t.Error(err)
	}
	if err := w.edit.Put(&w.cat, "", catalogue.Raw("v")); err == nil {
		t.Error("empty key accepted")
	}
	w.checkpoint(t, func() {})
	w.check(t, w.store)
}

func TestRootBeforeWritePanics(t *testing.T) {
	w := newWorld()
	w.put(t, "k", catalogue.Raw("v"))
	defer func() {
		if recover() == nil {
			t.Error("Root of an unwritten catalogue did not panic")
		}
	}()
	w.cat.Root()
}

// Readers, one sequencer and one checkpointer, as the engine runs them.
func TestConcurrent(t *testing.T) {
	w := newWorld()
	var (
		mu        sync.Mutex // the sequencer's
		published atomic.Pointer[catalogue.Catalogue]
		stop      atomic.Bool
		wg        sync.WaitGroup
	)
	value := func(i int) *live { return &live{fmt.Appendf(nil, "%d", i)} }
	for i := range 500 {
		w.put(t, fmt.Sprint(i), value(i))
	}
	first := w.publish()
	published.Store(&first.cat)
	for range 3 {
		wg.Go(func() {
			for !stop.Load() {
				c, n := *published.Load(), 0
				for item, err := range c.Scan(w.store, "", "") {
					if err != nil || text(item.Value) != item.Key {
						t.Error(item.Key, err)
						return
					}
					n++
				}
				if n != 500 {
					t.Errorf("%d items, want 500", n)
					return
				}
			}
		})
	}
	wg.Go(func() { // checkpointer
		for !stop.Load() {
			mu.Lock()
			c := *published.Load()
			err := c.Freeze(w.Alloc, w.Dead)
			mu.Unlock()
			if err == nil {
				err = c.Write(w.Write)
			}
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			var memo catalogue.Memo
			p := published.Load().Rebase(clean, &memo)
			w.cat = w.cat.Rebase(clean, &memo)
			published.Store(&p)
			mu.Unlock()
		}
	})
	for round := range 3000 {
		mu.Lock()
		k := fmt.Sprint(round % 500)
		w.delete(t, k)
		mu.Unlock() // a checkpoint may fall between two edits of a group
		mu.Lock()
		w.put(t, k, value(round%500))
		c := w.publish().cat
		published.Store(&c)
		mu.Unlock()
	}
	stop.Store(true)
	wg.Wait()
	w.checkpoint(t, func() {})
	w.account(t, w.cat)
}
