package wal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
)

// rig is a store's log with what its manifest would know.
type rig struct {
	t      testing.TB
	fs     vfs.FS
	dir    string
	log    *Log
	gens   []Generation
	last   Position
	placed []Placed
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, fs: vfs.OS(), dir: filepath.Join(t.TempDir(), "wal")}
	r.open(1)
	return r
}

// open begins a generation of our own behind r.last.
func (r *rig) open(first LSN) {
	r.t.Helper()
	l, err := OpenLog(LogOptions{FS: r.fs, Dir: r.dir, GenerationBytes: 2 * MaxGroupBytes, After: r.last})
	r.must(err)
	r.log = l
	r.prepare(first)
}

func (r *rig) prepare(first LSN) {
	r.t.Helper()
	g, err := r.log.Prepare(first)
	r.must(err)
	r.gens = append(r.gens, g)
	r.must(r.log.Adopt(g))
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// next is the entry that continues the log.
func (r *rig) next() *Entry {
	e := genesisEntry()
	if r.last.LSN > 0 {
		e = writeEntry()
		e.First, e.Last, e.Prev = r.last.LSN+1, r.last.LSN+1, r.last.Hash
		s := &e.Sections[0]
		s.Expect.LSN, s.Base.LSN, s.PrevChange = r.last.LSN, r.last.LSN, r.last.LSN
	}
	e.Time = int64(e.First)
	return e
}

func (r *rig) add(g *Group, body Body) Placed {
	r.t.Helper()
	e := r.next()
	p, err := g.Add(e, body)
	r.must(err)
	r.last = Position{e.Timeline, e.First, p.Hash}
	r.placed = append(r.placed, p)
	return p
}

// append writes a group of n entries that have body, with the durable mark
// given, and does not sync it.
func (r *rig) append(n int, mark LSN, body Body) {
	r.t.Helper()
	g, err := r.log.NewGroup(1)
	r.must(err)
	for range n {
		r.add(g, body)
	}
	r.must(r.log.Append(g, mark))
}

// commit is append with everything before durable, and syncs.
func (r *rig) commit(n int, body Body) {
	r.t.Helper()
	r.append(n, r.last.LSN, body)
	r.must(r.log.Sync())
}

// store takes facts as the manifest does.
func (r *rig) store(facts []Generation) {
	for _, f := range facts {
		i := slices.IndexFunc(r.gens, func(g Generation) bool { return g.ID == f.ID })
		r.gens[i] = f
	}
}

func (r *rig) input() ScanInput {
	return ScanInput{FS: r.fs, Dir: r.dir, Generations: r.gens, Timeline: uid(1), Epoch: 1, ManifestSeq: 1}
}

func (r *rig) scan() (*ScanResult, error) { return Scan(r.input()) }

func (r *rig) path(i int) string { return filepath.Join(r.dir, r.gens[i].ID.Path()) }

func (r *rig) bytes(i int) []byte {
	r.t.Helper()
	b, err := os.ReadFile(r.path(i))
	r.must(err)
	return b
}

func inline(n int) Body { return Body{Inline: bytes.Repeat([]byte{0xA5}, n)} }

func TestCommitScanRead(t *testing.T) {
	r := newRig(t)
	r.commit(3, Body{})
	r.commit(5, inline(4096))
	r.must(r.log.AppendMark(8))
	r.commit(1, Body{Extents: []Extent{{7, 4096}, {9, 512}}, Exempt: true})

	res, err := r.scan()
	r.must(err)
	if res.Last != 9 || res.Hash != r.last.Hash || res.Durable.LSN != 8 || res.Cut != nil || res.Time != 9 || res.Timeline != uid(1) {
		t.Fatalf("%+v", res)
	}
	var n LSN
	for rec, err := range Records(r.fs, r.dir, r.gens, 1, 9) {
		r.must(err)
		n++
		p := r.placed[n-1]
		if rec.LSN != n || rec.Hash != p.Hash || rec.InlineOffset != p.Inline || rec.Gen != p.Gen {
			t.Fatalf("record %d: %+v, placed %+v", n, rec.Frame, p)
		}
		if n == 5 && !bytes.Equal(rec.Inline, inline(4096).Inline) {
			t.Error("inline bytes differ")
		}
		if n == 9 && (!rec.Exempt || len(rec.Extents) != 2 || rec.Extents[1] != Extent{9, 512}) {
			t.Errorf("extents %v", rec.Extents)
		}
	}
	if n != 9 {
		t.Fatalf("%d records", n)
	}
}

func TestPlacesAreForetold(t *testing.T) {
	r := newRig(t)
	r.commit(1, Body{})
	body := inline(3000)
	r.commit(4, body)
	f, err := r.log.OpenReader(r.gens[0].ID)
	r.must(err)
	defer f.Close()
	got := make([]byte, 3000)
	for _, p := range r.placed[1:] {
		_, err := f.ReadAt(got, p.Inline)
		r.must(err)
		if !bytes.Equal(got, body.Inline) {
			t.Fatalf("other bytes at %d", p.Inline)
		}
	}
}

func TestRotateSealClose(t *testing.T) {
	r := newRig(t)
	for i := 0; i < 12; i++ {
		if !r.log.Ready() {
			r.prepare(0)
		}
		r.commit(1, inline(1<<20-2000))
	}
	facts, err := r.log.SealRetired(r.last.LSN)
	r.must(err)
	if len(facts) != 3 || facts[0].First != 1 || facts[2].Sealed || facts[2].First != facts[1].Last+1 {
		t.Fatalf("%+v", facts)
	}
	r.store(facts)
	res, err := r.scan()
	r.must(err)
	if res.Last != 12 || res.Durable.LSN != 11 {
		t.Fatalf("%+v", res)
	}
	facts, err = r.log.Close()
	r.must(err)
	r.store(facts)
	in := r.input()
	in.Clean = 12
	res, err = Scan(in)
	r.must(err)
	if res.Last != 12 || res.Durable.LSN != 12 || res.Durable.Hash != r.last.Hash {
		t.Fatalf("%+v", res)
	}
	for i, g := range r.gens {
		if n := int64(len(r.bytes(i))); g.Sealed && n != g.Length {
			t.Errorf("generation %d has %d bytes, not %d", i, n, g.Length)
		}
	}
	if _, err := r.log.NewGroup(1); err == nil {
		t.Error("a closed log takes a group")
	}
	in.Checkpoint, in.CheckpointHash, in.Generations = 10, r.placed[9].Hash, r.gens[1:]
	if _, err := Scan(in); err != nil {
		t.Error(err)
	}
	in.CheckpointHash[0] ^= 1
	if _, err := Scan(in); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another checkpoint hash: %v", err)
	}
}

func TestLimits(t *testing.T) {
	r := newRig(t)
	g, err := r.log.NewGroup(1)
	r.must(err)
	r.add(g, Body{})
	if _, err := g.Add(r.next(), inline(1<<20)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("over a record: %v", err)
	}
	for range 3 {
		r.add(g, inline(1<<20-2000))
	}
	r.add(g, inline(1<<20-10_000))
	if _, err := g.Add(r.next(), inline(1<<20-2000)); !errors.Is(err, ErrGroupFull) {
		t.Errorf("over a group: %v", err)
	}
	r.add(g, Body{})
	r.must(r.log.Append(g, 0))
	if _, err := g.Add(r.next(), Body{}); err == nil {
		t.Error("an appended group takes an entry")
	}
	if err := r.log.Append(g, 0); err == nil {
		t.Error("a group was appended twice")
	}
	r.append(3, 0, inline(1<<20-2000))
	if _, err := r.log.NewGroup(1); !errors.Is(err, ErrNotReady) {
		t.Errorf("no room and no generation: %v", err)
	}
	r.must(r.log.Sync())
	r.prepare(0)
	r.commit(1, Body{})
	res, err := r.scan()
	r.must(err)
	if res.Last != r.last.LSN || res.Cut != nil {
		t.Errorf("%+v", res)
	}
}

// A mark never takes the place that was foretold to an entry.
func TestMarkWaitsForSequenced(t *testing.T) {
	r := newRig(t)
	r.commit(1, Body{})
	g, err := r.log.NewGroup(1)
	r.must(err)
	foretold, err := g.Foresee(r.next(), inline(100))
	r.must(err)
	r.must(r.log.AppendMark(1))
	p := r.add(g, inline(100))
	r.must(r.log.AppendMark(1))
	r.must(r.log.Append(g, 1))
	if at := int64(bytes.Index(r.bytes(0), inline(100).Inline)); at != p.Inline || at != foretold {
		t.Errorf("inline bytes at %d, foretold %d and %d", at, foretold, p.Inline)
	}
	frames := func(want int) {
		t.Helper()
		if n := bytes.Count(r.bytes(0), []byte(frameMagic)); n != want {
			t.Errorf("%d frames, want %d", n, want)
		}
	}
	frames(2)
	r.must(r.log.Sync())
	empty, err := r.log.NewGroup(1)
	r.must(err)
	r.must(r.log.AppendMark(2))
	frames(2)
	empty.Abandon()
	r.must(r.log.AppendMark(2))
	frames(3)
}

func TestReaderFollows(t *testing.T) {
	r := newRig(t)
	r.commit(1, Body{})
	rd, err := NewReader(r.fs, r.dir, r.gens, 1)
	r.must(err)
	defer rd.Close()
	read := func(want LSN) {
		t.Helper()
		n := LSN(0)
		for {
			rec, err := rd.Next()
			if err != nil {
				if err.Error() != "EOF" || n != want {
					t.Fatalf("read to %d, want %d: %v", n, want, err)
				}
				return
			}
			n = rec.LSN
		}
	}
	read(1)
	read(0)
	r.prepare(0)
	rd.Update(slices.Clone(r.gens))
	read(0)
	r.commit(2, inline(10))
	read(3)
	for range 6 {
		r.commit(1, inline(1<<20-2000))
	}
	read(9)
	facts, err := r.log.SealRetired(r.last.LSN)
	r.must(err)
	r.store(facts)
	rd.Update(r.gens)
	r.commit(1, Body{})
	read(10)
}

// TestSealDurableOnly: a generation left behind is synced, but it is not called
// sealed before the caller says that its images are durable too.
func TestSealDurableOnly(t *testing.T) {
	r := newRig(t)
	for len(r.gens) < 4 {
		if !r.log.Ready() {
			r.prepare(0)
		}
		r.commit(1, inline(1<<20-2000))
	}
	ends := []LSN{r.log.retired[0].end.LSN, r.log.retired[1].end.LSN}
	for _, durable := range []LSN{0, ends[0] - 1, ends[1] - 1, ends[1] - 1, r.last.LSN, r.last.LSN} {
		facts, err := r.log.SealRetired(durable)
		r.must(err)
		want := 0 // generations that end at or below durable and are not sealed yet
		for len(ends) > 0 && ends[0] <= durable {
			want, ends = want+1, ends[1:]
		}
		if want == 0 && len(facts) == 0 {
			continue
		}
		if len(facts) != want+1 || facts[want-1].Last > durable || facts[want].Sealed || facts[want].First != facts[want-1].Last+1 {
			t.Fatalf("durable up to %d: %+v", durable, facts)
		}
		r.store(facts)
		if res, err := r.scan(); err != nil || res.Last != r.last.LSN {
			t.Fatalf("durable up to %d: %+v, %v; the log ends at %d", durable, res, err, r.last.LSN)
		}
	}
}

// What a reader has read ahead of the writer is not believed when more is known
// to be there: neither of a generation that was sealed meanwhile, nor of one that
// is gone.
func TestReaderHasReadAhead(t *testing.T) {
	for name, first := range map[string]int{"sealed": 0, "gone": 1} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.commit(1, Body{})
			rd, err := NewReader(r.fs, r.dir, r.gens, 1)
			r.must(err)
			defer rd.Close()
			_, err = rd.Next() // and zeros behind it
			r.must(err)
			r.commit(1, Body{})
			r.prepare(0)
			for range 6 {
				r.commit(1, inline(1<<20-2000))
			}
			facts, err := r.log.SealRetired(r.last.LSN)
			r.must(err)
			r.store(facts)
			rd.Update(slices.Clone(r.gens[first:]))
			for want := LSN(2); want <= r.last.LSN; want++ {
				if rec, err := rd.Next(); err != nil || rec.LSN != want {
					t.Fatalf("LSN %d: %v", want, err)
				}
			}
		})
	}
}

// TestReaderIsLeftBehind: a reader whose generation is gone reads that to its
// end, and then says so; it does not wait for ever.
func TestReaderIsLeftBehind(t *testing.T) {
	r := newRig(t)
	r.commit(2, Body{})
	rd, err := NewReader(r.fs, r.dir, r.gens, 1)
	r.must(err)
	defer rd.Close()
	for err == nil {
		_, err = rd.Next()
	}
	for range 2 {
		r.prepare(0)
		for range 6 {
			r.commit(1, inline(1<<20-2000))
		}
		facts, err := r.log.SealRetired(r.last.LSN)
		r.must(err)
		r.store(facts)
	}
	rd.Update(slices.Clone(r.gens))
	r.must(Remove(r.fs, r.dir, r.gens[0].ID))
	r.must(Remove(r.fs, r.dir, r.gens[1].ID))
	for range 2 { // without Update the generation seems to be missing
		for err = nil; err == nil; {
			_, err = rd.Next()
		}
		if !errors.Is(err, ErrCorrupt) || rd.w.next != r.gens[1].First {
			t.Fatalf("behind a generation that is gone, at LSN %d: %v", rd.w.next, err)
		}
	}
	rd.Update(r.gens[2:])
	for range 2 {
		if rec, err := rd.Next(); !errors.Is(err, ErrCompacted) {
			t.Fatalf("entries are gone, Next returned %v, %v", rec, err)
		}
	}
}

// TestReaderRejoins: what a reader has read is copied by recovery to another
// generation, and the one it was in goes: it misses nothing and repeats nothing.
func TestReaderRejoins(t *testing.T) {
	r := newRig(t)
	r.commit(1, Body{})
	durable := r.last
	r.commit(1, Body{})
	rd, err := NewReader(r.fs, r.dir, r.gens, 1)
	r.must(err)
	defer rd.Close()
	for range 2 {
		_, err := rd.Next()
		r.must(err)
	}
	r.last, r.gens = durable, nil
	r.open(2)
	r.commit(2, Body{}) // entry 2 as it was, and 3
	rd.Update(r.gens)
	if rec, err := rd.Next(); err != nil || rec.LSN != 3 {
		t.Fatalf("behind entry 2: %+v, %v", rec, err)
	}
	r.last, r.gens = durable, nil
	r.open(2)
	for range 3 { // other entries than those read
		g, err := r.log.NewGroup(1)
		r.must(err)
		e := r.next()
		e.Time += 7
		p, err := g.Add(e, Body{})
		r.must(err)
		r.last = Position{e.Timeline, e.First, p.Hash}
		r.must(r.log.Append(g, 0))
	}
	rd.Update(r.gens)
	if rec, err := rd.Next(); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("another entry 3: %+v, %v", rec, err)
	}
}
