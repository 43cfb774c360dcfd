package manifest_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/wal"
)

const path = dir + "/" + manifest.Name

func contents(t testing.TB, d vfs.FS) []byte {
	t.Helper()
	f, err := d.OpenRead(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, _ := f.Size()
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// records is the manifest without the zeros behind its records.
func records(t testing.TB, d vfs.FS) []byte {
	t.Helper()
	_, rep, err := manifest.Load(d, dir)
	if err != nil {
		t.Fatal(err)
	}
	b := contents(t, d)
	if int64(len(b)) != rep.Bytes || len(bytes.TrimRight(b[rep.Bytes-rep.Slack:], "\x00")) > 0 {
		t.Fatalf("the slack is not zero: %+v", rep)
	}
	return b[:rep.Bytes-rep.Slack]
}

// with is a disk whose manifest has these bytes.
func with(t testing.TB, b []byte) vfs.FS {
	t.Helper()
	d := disk(t)
	f, err := d.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return d
}

// written is a manifest of several records, and where each ends.
func written(t testing.TB) (d *crashfs.FS, ends []int) {
	t.Helper()
	d = disk(t)
	m, err := manifest.Create(d, dir, newFacts())
	if err != nil {
		t.Fatal(err)
	}
	ends = append(ends, len(records(t, d)))
	for i := range uint32(5) {
		e := manifest.Edit{
			Used:       []heap.Extent{{First: heap.MakeSlot(1, 100*i), Count: 70}, {First: heap.MakeSlot(1, 100*i+80), Count: 1}},
			Checkpoint: &manifest.Checkpoint{LSN: wal.LSN(i), Hash: wal.Hash{byte(i)}},
		}
		if _, err := m.Append(e); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, len(records(t, d)))
	}
	return d, ends
}

// corrupt fails unless err is typed and says where.
func corrupt(t *testing.T, err error) {
	t.Helper()
	var at *wal.CorruptError
	if !errors.Is(err, wal.ErrCorrupt) || !errors.As(err, &at) || at.File != manifest.Name || at.Offset < 0 {
		t.Fatalf("want a typed corruption with its place, got %v", err)
	}
}

func TestTornTail(t *testing.T) {
	d, ends := written(t)
	whole := records(t, d)
	last := ends[len(ends)-2]
	rng := rand.New(rand.NewPCG(1, 1))
	for cut := last + 1; cut < len(whole); cut++ {
		zeroed := append(bytes.Clone(whole[:cut]), make([]byte, len(whole)-cut)...)
		garbage := bytes.Clone(whole)
		for i := cut; i < len(garbage); i++ {
			garbage[i] = byte(rng.Uint32())
		}
		stale := append(bytes.Clone(whole[:cut]), whole[ends[1]:ends[3]]...)
		for _, b := range [][]byte{whole[:cut], zeroed, garbage, stale, append(bytes.Clone(garbage), make([]byte, 70_000)...)} {
			if bytes.Equal(b, whole) {
				continue // the byte cut off was a zero
			}
			f, rep, err := manifest.Load(with(t, b), dir)
			torn := int64(len(bytes.TrimRight(b, "\x00")) - last)
			if err != nil || f.Seq != 5 || rep.TornBytes != torn || rep.Slack != int64(len(b)-last)-torn {
				t.Fatalf("cut at %d: %v, seq %d, %+v", cut, err, f.Seq, rep)
			}
		}
	}
	for cut := range ends[0] {
		_, _, err := manifest.Load(with(t, whole[:cut]), dir)
		corrupt(t, err)
	}
	m, f, rep, err := manifest.Open(with(t, whole[:len(whole)-3]), dir)
	if err != nil || rep.TornBytes == 0 || f.Seq != 6 || m.Seq() != 6 {
		t.Fatal(err, rep, f.Seq)
	}
}

// A valid record of another file of this store, numbered as the next would
// be, is not the next: it follows another record.
func TestRecordOfAnotherFile(t *testing.T) {
	d, ends := written(t)
	whole := records(t, d)
	d = disk(t)
	f := newFacts()
	f.Epoch++
	m, err := manifest.Create(d, dir, f)
	if err == nil {
		_, err = m.Append(manifest.Edit{LowWater: 66})
	}
	if err != nil {
		t.Fatal(err)
	}
	b := append(whole[:ends[0]:ends[0]], contents(t, d)[ends[0]:]...)
	if _, _, err := manifest.Load(with(t, b), dir); err == nil {
		t.Error("a record that follows another one was taken")
	}
}

func TestRecordMissing(t *testing.T) {
	d, ends := written(t)
	whole := records(t, d)
	without := append(bytes.Clone(whole[:ends[1]]), whole[ends[2]:]...)
	swapped := slices.Concat(whole[:ends[1]], whole[ends[2]:ends[3]], whole[ends[1]:ends[2]], whole[ends[3]:])
	twice := slices.Concat(whole[:ends[2]], whole[ends[1]:])
	for _, b := range [][]byte{without, swapped, twice} {
		_, _, err := manifest.Load(with(t, b), dir)
		corrupt(t, err)
	}
}

// growing is a disk on which a manifest's bytes from an offset on are written
// behind a number of reads.
type growing struct {
	vfs.FS
	from  int64
	reads int
}

type growingFile struct {
	vfs.File
	disk *growing
}

func (g *growing) OpenRead(name string) (vfs.File, error) {
	f, err := g.FS.OpenRead(name)
	return growingFile{f, g}, err
}

func (f growingFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if f.disk.reads--; f.disk.reads >= 0 {
		clear(p[min(int64(n), max(0, f.disk.from-off)):n])
	}
	return n, err
}

// A record that is appended while the manifest is read is there, or is not.
func TestLoadBesideAppend(t *testing.T) {
	d, ends := written(t)
	for i, end := range ends[1 : len(ends)-1] {
		for reads := range 30 {
			f, _, err := manifest.Load(&growing{FS: d, from: int64(end), reads: reads}, dir)
			if want := uint64(i + 2); err != nil || f.Seq != want && f.Seq != 6 {
				t.Errorf("the last %d records written behind read %d: %v, seq %d", len(ends)-2-i, reads, err, f.Seq)
			}
		}
	}
}

// Of a manifest closed cleanly every flip is detected; of another one every
// flip but those in the last record, which cannot be told from a torn one:
// there the sequence number is lower than what frames of the log name.
func TestFlips(t *testing.T) {
	d, ends := written(t)
	whole := records(t, d)
	m, _, _, err := manifest.Open(d, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.CloseClean(9); err != nil {
		t.Fatal(err)
	}
	clean := contents(t, d)
	rng := rand.New(rand.NewPCG(8, 8))
	for range 8000 {
		bit := rng.IntN(8 * len(clean))
		b := bytes.Clone(clean)
		b[bit/8] ^= 1 << (bit % 8)
		_, _, err := manifest.Load(with(t, b), dir)
		corrupt(t, err)
	}
	for bit := range 8 * len(whole) {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		f, rep, err := manifest.Load(with(t, b), dir)
		if bit/8 < ends[len(ends)-2] {
			corrupt(t, err)
		} else if err != nil || f.Seq != 5 || rep.TornBytes == 0 {
			t.Fatalf("bit %d: %v, seq %d", bit, err, f.Seq)
		}
	}
}

// large is an edit of about 300 KiB.
func large(i uint32) (e manifest.Edit) {
	for s := range uint32(75_000) {
		e.Used = append(e.Used, heap.Extent{First: heap.MakeSlot(i, 2*s), Count: 1})
	}
	e.Heap = []heap.FileInfo{{Number: i, Class: 12, Slots: 200_000}}
	return e
}

func TestFold(t *testing.T) {
	d := disk(t)
	m, err := manifest.Create(d, dir, newFacts())
	if err != nil {
		t.Fatal(err)
	}
	biggest := 0
	for i := range uint32(20) {
		if _, err := m.Append(large(i + 2)); err != nil {
			t.Fatal(err)
		}
		biggest = max(biggest, len(contents(t, d)))
	}
	if f := load(t, d); f.Seq != 21 || f.Used.Len() != 20*75_000 || len(f.Heap) != 21 {
		t.Fatal(f.Seq, f.Used.Len())
	}
	if biggest > 2<<20 {
		t.Errorf("the file grew to %d bytes", biggest)
	}
	d.Inject(crashfs.FailKind(syscall.ENOSPC, crashfs.Create))
	for i := range uint32(8) {
		if _, err := m.Append(large(i + 30)); err != nil {
			t.Fatal("no room for a fold must not stop appends:", err)
		}
	}
	d.Inject(nil)
	if f := load(t, d); f.Seq != 29 || f.Used.Len() != 28*75_000 {
		t.Fatal(f.Seq, f.Used.Len())
	}
	if _, err := m.Append(large(50)); err != nil || len(contents(t, d)) > 1<<20 {
		t.Error("not folded once there was room:", err)
	}
}

// wide is an edit of about 200 KiB that costs little to apply.
func wide(i uint32) manifest.Edit {
	gens := make([]wal.Generation, 3000)
	for j := range gens {
		gens[j] = wal.Generation{ID: wal.GenID(j + 1), First: wal.LSN(i)}
	}
	return manifest.Edit{
		Generations: &gens,
		Used:        []heap.Extent{{First: heap.MakeSlot(1, 10*i), Count: 7}},
		Free:        []heap.Extent{{First: heap.MakeSlot(1, 10*i), Count: 2}},
	}
}

// life makes a manifest, edits, folds, reopens and closes it, and gives acked
// the facts of each Seq as soon as that is durable.
func life(t testing.TB, d *crashfs.FS, acked func(manifest.Facts)) {
	m, err := manifest.Create(d, dir, newFacts())
	for i := uint32(0); i < 7 && err == nil; i++ {
		acked(load(t, d))
		_, err = m.Append(wide(i))
	}
	acked(load(t, d))
	if err == nil {
		_ = m.Close()
		m, _, _, err = manifest.Open(d, dir)
	}
	acked(load(t, d))
	if err == nil {
		_, err = m.Append(manifest.Edit{LowWater: 7})
	}
	acked(load(t, d))
	if err == nil {
		err = m.CloseClean(8)
	}
	if err != nil {
		t.Fatal(err)
	}
	acked(load(t, d))
}

// Cut off at any operation, under any model, the manifest opens with what was
// acknowledged last or what was being written; then it can be edited.
func TestCrash(t *testing.T) {
	d := disk(t)
	type ack struct {
		op    int
		facts manifest.Facts
	}
	start, acks := d.Ops(), []ack{}
	life(t, d, func(f manifest.Facts) { acks = append(acks, ack{d.Ops(), f}) })
	models := []crashfs.Model{crashfs.KillOnly, crashfs.Ordered, crashfs.Posix}
	for seed := range uint64(8) {
		models = append(models, crashfs.MetadataOrdered(seed), crashfs.Random(seed))
	}
	points := 0
	for op := start; op <= d.Ops(); op++ {
		next := slices.IndexFunc(acks, func(a ack) bool { return a.op > op })
		if next < 0 {
			next = len(acks)
		}
		for _, model := range models {
			points++
			image := d.Cut(op, model)
			m, got, _, err := manifest.Open(image, dir)
			if errors.Is(err, fs.ErrNotExist) && next == 0 {
				if m, err = manifest.Create(image, dir, newFacts()); err == nil {
					got = newFacts()
				}
			}
			if err != nil {
				t.Fatalf("cut after %d, %v: %v", op, model, err)
			}
			ok := next == 0 && len(acks) > 0
			for i := max(next-1, 0); i <= min(next, len(acks)-1); i++ {
				want := acks[i].facts
				want.Seq = got.Seq // Open numbers it anew
				ok = ok || same(got, want)
			}
			if !ok || next > 0 && got.Seq <= acks[next-1].facts.Seq {
				t.Fatalf("cut after %d, %v: facts of no acknowledged or pending record, seq %d", op, model, got.Seq)
			}
			if _, err := m.Append(manifest.Edit{LowWater: 99}); err != nil || load(t, image).LowWater != 99 {
				t.Fatal(err)
			}
		}
	}
	t.Log(points, "crash points")
}

// full is a disk on which nothing can be made and no file grow.
func full(t testing.TB, d vfs.FS) crashfs.Fault {
	size := int64(len(contents(t, d)))
	return func(o crashfs.Op) error {
		if o.Kind == crashfs.Create || o.Kind == crashfs.Write && o.Offset+int64(o.Length) > size {
			return &crashfs.ShortWrite{N: int(max(size-o.Offset, 0)), Err: syscall.ENOSPC}
		}
		return nil
	}
}

// A full disk refuses what does not fit the space taken ahead, and changes
// nothing; what fits is written. With room everything goes on.
func TestFullDisk(t *testing.T) {
	d := disk(t)
	m, err := manifest.Create(d, dir, newFacts())
	if err == nil {
		err = m.Close()
	}
	if err == nil {
		m, _, _, err = manifest.Open(d, dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	for round := range uint32(3) {
		d.Inject(full(t, d))
		for i := range wal.LSN(20) {
			if _, err := m.Append(manifest.Edit{LowWater: 100*wal.LSN(round) + i}); err != nil {
				t.Fatal("a small record must find its space:", err)
			}
		}
		before := load(t, d)
		for range 2 {
			if _, err := m.Append(wide(7 + round)); !errors.Is(err, manifest.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) || errors.Is(err, manifest.ErrPoisoned) {
				t.Fatal("want an ordinary error:", err)
			}
		}
		facts := m.Facts()
		if after := load(t, d); !same(before, after) || m.Seq() != before.Seq || facts.Seq != before.Seq || len(facts.Generations) != len(before.Generations) {
			t.Fatal("a refused edit changed something")
		}
		d.Inject(nil)
		if _, err := m.Append(wide(7 + round)); err != nil || load(t, d).Seq != before.Seq+1 {
			t.Fatal("room was made:", err)
		}
	}
	if err := m.CloseClean(1); err != nil {
		t.Fatal(err)
	}
	if _, rep, err := manifest.Load(d, dir); err != nil || rep.Slack != 0 || rep.TornBytes != 0 {
		t.Errorf("%+v of a clean manifest: %v", rep, err)
	}
}

// Each operation fails once: the error poisons, and what was acknowledged is
// found by opening again.
func TestFailures(t *testing.T) {
	clean := disk(t)
	first := clean.Ops()
	life(t, clean, func(manifest.Facts) {})
	for op := first + 1; op <= clean.Ops(); op++ {
		d, seq := disk(t), uint64(0)
		d.Inject(crashfs.FailAt(op, syscall.EIO))
		m, err := manifest.Create(d, dir, newFacts())
		for i := uint32(2); err == nil && i < 8; i++ {
			seq = m.Seq()
			if _, err = m.Append(wide(i)); err != nil {
				d.Inject(nil)
				_, again := m.Append(manifest.Edit{})
				if !errors.Is(err, manifest.ErrPoisoned) || !errors.Is(again, manifest.ErrPoisoned) || !errors.Is(again, syscall.EIO) || m.Seq() != seq {
					t.Fatalf("operation %d: %v, then %v", op, err, again)
				}
			}
		}
		d.Inject(nil)
		f, _, err := manifest.Load(d, dir)
		if seq == 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || f.Seq < seq || f.Seq > seq+1 {
			t.Fatalf("operation %d: acknowledged %d, loaded %d, %v", op, seq, f.Seq, err)
		}
	}
}

func TestCreateRefusesASecondStore(t *testing.T) {
	d, _ := written(t)
	before := contents(t, d)
	if _, err := manifest.Create(d, dir, newFacts()); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if !bytes.Equal(before, contents(t, d)) {
		t.Error("changed")
	}
	f := newFacts()
	f.Used = new(manifest.SlotSet)
	_ = f.Used.Add(heap.Extent{First: heap.MakeSlot(9, 0), Count: 1})
	if _, err := manifest.Create(disk(t), dir, f); err == nil {
		t.Error("created with used slots in no file")
	}
}

func TestNewerVersion(t *testing.T) {
	d, _ := written(t)
	b := newer(contents(t, d))
	d2 := with(t, b)
	if _, _, err := manifest.Load(d2, dir); !errors.Is(err, wal.ErrVersion) || errors.Is(err, wal.ErrCorrupt) {
		t.Error(err)
	}
	if _, _, _, err := manifest.Open(d2, dir); !errors.Is(err, wal.ErrVersion) || !bytes.Equal(contents(t, d2), b) {
		t.Error(err)
	}
}

func TestClosed(t *testing.T) {
	d, _ := written(t)
	m, _, _, err := manifest.Open(d, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.CloseClean(3); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Append(manifest.Edit{}); !errors.Is(err, manifest.ErrClosed) {
		t.Error(err)
	}
	if err := errors.Join(m.Close(), m.Close()); err != nil {
		t.Error(err)
	}
	m, f, _, err := manifest.Open(d, dir)
	if err != nil || f.Clean != 3 || load(t, d).Clean != 3 {
		t.Fatal("opening alone must not end a clean close:", err, f.Clean)
	}
	if _, err := m.Append(manifest.Edit{}); err != nil || load(t, d).Clean != 0 || m.Facts().Clean != 0 {
		t.Error("a write must end a clean close:", err)
	}
}
