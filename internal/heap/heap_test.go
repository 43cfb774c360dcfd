package heap_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/wal"
)

var (
	store = uuid.MustParse("0198c7a0-0000-7000-8000-000000000001")
)

// small makes files of 32 units of 64 KiB, so that tests fill them.
func small(fs vfs.FS) heap.Options {
	return heap.Options{FS: fs, Dir: "heap", Store: store, MaxFileBytes: 2 << 20, GrowBytes: 128 << 10}
}

func open(t testing.TB, o heap.Options, known []heap.FileInfo) *heap.Heap {
	t.Helper()
	h, err := heap.Open(o, known)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// content is bytes that no other slot and version has.
func content(s heap.Slot, class heap.Class, version uint64) []byte {
	b := make([]byte, class.Bytes())
	r := rand.NewChaCha8([32]byte{})
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(s))
	binary.LittleEndian.PutUint64(seed[8:], version)
	r.Seed(seed)
	r.Read(b[:64])
	copy(b[len(b)-64:], b[:64])
	return b
}

func TestWriteIsReadBackAfterReopening(t *testing.T) {
	disk := crashfs.New()
	h := open(t, small(disk), nil)
	var all []heap.Extent
	for class := heap.MinClass; class <= heap.MaxClass; class++ {
		got, err := h.Alloc(class, 21, 0)
		must(t, err)
		for _, e := range got {
			for i := range e.Count {
				s := e.First + heap.Slot(i)
				must(t, h.Write(s, content(s, class, 1)))
			}
		}
		all = append(all, got...)
	}
	must(t, h.Sync())
	known := h.Files()

	again := open(t, small(disk.Cut(disk.Ops(), crashfs.Posix)), known)
	for _, e := range all {
		must(t, again.MarkUsed(e))
		class, err := again.Class(e.First.File())
		must(t, err)
		for i := range e.Count {
			s := e.First + heap.Slot(i)
			got := make([]byte, class.Bytes())
			must(t, again.ReadSlot(s, got))
			if !bytes.Equal(got, content(s, class, 1)) {
				t.Fatalf("slot %v reads otherwise after reopening", s)
			}
		}
	}
	if got, want := again.Stats().Used, h.Stats().Used; got != want {
		t.Errorf("%d bytes used after reopening, %d before", got, want)
	}
}

// A heap fills files to their limit, then makes the next; numbers ascend.
func TestGrowth(t *testing.T) {
	disk := crashfs.New()
	h := open(t, small(disk), nil)
	total := 0
	for range 40 {
		got, err := h.Alloc(12, 60, 30)
		must(t, err)
		for i, e := range got {
			if total += int(e.Count); i < len(got)-1 && e.Count < 30 {
				t.Fatalf("extent %v of %d slots, not the last, has fewer than 30", e.First, e.Count)
			}
		}
	}
	files := h.Files()
	if len(files) != 5 || total != 2400 {
		t.Fatalf("%d slots in %d files, want 2400 in 5", total, len(files))
	}
	for i, f := range files {
		info, err := disk.Lstat(fmt.Sprintf("heap/%08x", f.Number))
		if must(t, err); info.Size > 2<<20 || f.Number != uint32(i+1) {
			t.Errorf("file %d has number %d and %d bytes", i, f.Number, info.Size)
		}
	}
}

func TestFillWritesAhead(t *testing.T) {
	h := open(t, small(crashfs.New()), nil)
	if worked, err := h.Fill(); worked || err != nil {
		t.Fatalf("fill of a heap without files: %v, %v", worked, err)
	}
	_, err := h.Alloc(12, 16, 0)
	must(t, err)
	for worked := true; worked; {
		worked, err = h.Fill()
		must(t, err)
	}
	must(t, h.EnsureWritten(9, 1<<20))
	free := h.Stats().Free
	if free < 1<<20+64<<10 {
		t.Errorf("%d bytes free after filling", free)
	}
	for _, f := range h.Files() {
		if f.Slots == 0 {
			t.Errorf("file %d was written ahead and not synced", f.Number)
		}
	}
}

// A 4 KiB frame of smaller slots goes to one call and comes back whole.
func TestFramesAreNotShared(t *testing.T) {
	h := open(t, small(crashfs.New()), nil)
	frame := func(s heap.Slot) heap.Slot { return s &^ 7 }
	one, err := h.Alloc(9, 3, 0)
	must(t, err)
	two, err := h.Alloc(9, 3, 0)
	must(t, err)
	if frame(one[0].First) == frame(two[0].First) {
		t.Fatalf("slots %v and %v of two calls share a frame", one[0].First, two[0].First)
	}
	must(t, h.Release(heap.Extent{First: one[0].First, Count: 2}))
	for range 1000 {
		got, err := h.Alloc(9, 1, 0)
		must(t, err)
		if frame(got[0].First) == frame(one[0].First) {
			t.Fatalf("slot %v of a frame still in use was handed out", got[0].First)
		}
	}
	free := h.Stats().Free
	must(t, h.Release(heap.Extent{First: one[0].First + 2, Count: 1}))
	if got := h.Stats().Free - free; got != 4096 {
		t.Errorf("the last slot of a frame freed %d bytes, want 4096", got)
	}
}

func TestBatchSharesFrames(t *testing.T) {
	h := open(t, small(crashfs.New()), nil)
	b := h.Batch()
	var slots []heap.Slot
	for range 200 {
		s, err := b.Slot(9)
		must(t, err)
		slots = append(slots, s)
	}
	must(t, b.Close())
	slices.Sort(slots)
	if len(slices.Compact(slots)) != 200 || slots[199]-slots[0] != 199 {
		t.Errorf("200 slots of a batch lie from %v to %v", slots[0], slots[199])
	}
	if used := h.Stats().Used; used != 200*512 {
		t.Errorf("%d bytes used after the batch, want %d", used, 200*512)
	}
	if _, err := b.Slot(3); err == nil {
		t.Error("a slot of class 3 was handed out")
	}
}

func TestPlace(t *testing.T) {
	disk := crashfs.New()
	o := small(disk)
	o.MaxFileBytes = 64 << 20
	h := open(t, o, nil)
	data := make([]byte, 3<<20+512)
	rand.NewChaCha8([32]byte{7}).Read(data)
	for _, class := range []heap.Class{9, 9, 9} {
		before := h.Stats().Bytes
		got, err := h.Place(class, data)
		must(t, err)
		body, err := h.Body(got)
		must(t, err)
		read := make([]byte, len(data))
		if _, err := body.ReadAt(read, 0); err != nil || body.Size() != int64(len(data)) {
			t.Fatalf("body of %d bytes: %v", body.Size(), err)
		}
		if !bytes.Equal(read, data) {
			t.Fatal("what was placed reads otherwise")
		}
		if n := h.Stats().Bytes - before; n != 3<<20+4096 {
			t.Errorf("the heap grew by %d bytes for %d", n, len(data))
		}
		must(t, h.ReleaseAll(got))
		before = h.Stats().Bytes
		again, err := h.Place(class, data[:2<<20])
		must(t, err)
		if h.Stats().Bytes != before {
			t.Errorf("the heap grew for %v with %v free", again, got)
		}
	}
	written := 0
	for _, op := range disk.Log() {
		if op.Kind == crashfs.Write {
			written += op.Length
		}
	}
	if limit := 3*(5<<20) + 1<<16; written > limit {
		t.Errorf("%d bytes written to place %d", written, 3*(5<<20))
	}
}

func TestBodyReadsAcrossExtents(t *testing.T) {
	h := open(t, small(crashfs.New()), nil)
	var extents []heap.Extent
	var want []byte
	for _, class := range []heap.Class{9, 13, 12, 16} {
		data := make([]byte, 3*class.Bytes())
		rand.NewChaCha8([32]byte{byte(class)}).Read(data)
		got, err := h.Place(class, data)
		must(t, err)
		extents, want = append(extents, got...), append(want, data...)
	}
	body, err := h.Body(extents)
	must(t, err)
	for range 2000 {
		from := rand.IntN(len(want) + 1)
		to := from + rand.IntN(len(want)+100-from)
		got := make([]byte, to-from)
		n, err := body.ReadAt(got, int64(from))
		if exp := want[from:min(to, len(want))]; n != len(exp) || !bytes.Equal(got[:n], exp) || (err == io.EOF) != (to > len(want)) {
			t.Fatalf("read of [%d,%d): %d bytes, %v", from, to, n, err)
		}
	}
	if _, err := h.Body([]heap.Extent{{First: heap.MakeSlot(1, 1<<27), Count: 1}}); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("a body of slots that are not there: %v", err)
	}
}

// Promise 6: a failed sync poisons for good; reads go on.
func TestPoison(t *testing.T) {
	disk := crashfs.New()
	h := open(t, small(disk), nil)
	got, err := h.Alloc(12, 1, 0)
	must(t, err)
	page := content(got[0].First, 12, 1)
	must(t, h.Write(got[0].First, page))
	disk.Inject(crashfs.FailKind(syscall.EIO, crashfs.Sync))
	if err := h.Sync(); !errors.Is(err, heap.ErrPoisoned) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("a failing sync returned %v", err)
	}
	disk.Inject(nil)
	syncs := disk.Ops()
	_, grow := h.Alloc(16, 1000, 0)
	_, fill := h.Fill()
	for _, err := range []error{h.Sync(), h.Write(got[0].First, page), h.Poisoned(), grow, fill} {
		if !errors.Is(err, heap.ErrPoisoned) {
			t.Errorf("after a failed sync: %v, want ErrPoisoned", err)
		}
	}
	if disk.Ops() != syncs {
		t.Error("a poisoned heap touched the disk")
	}
	read := make([]byte, 4096)
	if must(t, h.ReadSlot(got[0].First, read)); !bytes.Equal(read, page) {
		t.Error("a poisoned heap reads otherwise")
	}
}

// A full disk is an ordinary error, shown before anything is handed out.
func TestFullDisk(t *testing.T) {
	for _, kind := range []crashfs.Kind{crashfs.Create, crashfs.Write} {
		disk := crashfs.New()
		h := open(t, small(disk), nil)
		disk.Inject(crashfs.FailKind(syscall.ENOSPC, kind))
		_, err := h.Alloc(12, 100, 0)
		_, placed := h.Place(12, make([]byte, 1<<20))
		for _, err := range []error{err, placed} {
			if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, heap.ErrPoisoned) {
				t.Errorf("%s fails: %v", kind, err)
			}
		}
		if used := h.Stats().Used; used != 0 {
			t.Errorf("%s fails: %d bytes used afterwards", kind, used)
		}
		disk.Inject(nil)
		_, err = h.Alloc(12, 100, 0)
		must(t, err)
		must(t, h.Sync())
		open(t, small(disk.Cut(disk.Ops(), crashfs.Posix)), h.Files())
	}
}

func TestMisuseIsRefused(t *testing.T) {
	h := open(t, small(crashfs.New()), nil)
	got, err := h.Alloc(12, 4, 0)
	must(t, err)
	first := got[0].First
	must(t, h.Release(heap.Extent{First: first, Count: 2}))
	nowhere := heap.MakeSlot(9, 9)
	for what, err := range map[string]error{
		"release twice":          h.Release(got[0]),
		"release nothing known":  h.Release(heap.Extent{First: nowhere, Count: 1}),
		"release past the end":   h.Release(heap.Extent{First: first, Count: 1 << 31}),
		"mark what is not there": h.MarkUsed(heap.Extent{First: nowhere, Count: 1}),
		"read nowhere":           h.ReadSlot(nowhere, make([]byte, 1)),
		"read the zero slot":     h.ReadSlot(0, make([]byte, 1)),
		"write nowhere":          h.Write(nowhere, make([]byte, 4096)),
		"write past the end":     h.Write(first+1<<20, make([]byte, 4096)),
	} {
		if !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", what, err)
		}
	}
	if h.Write(first, make([]byte, 100)) == nil || h.ReadSlot(first, make([]byte, 4097)) == nil {
		t.Error("parts of slots written, or more than a slot read")
	}
	if used := h.Stats().Used; used != 2*4096 {
		t.Errorf("%d bytes used after refusals", used)
	}
}

// Open refuses what is not the heap that the manifest knows.
func TestOpenRefuses(t *testing.T) {
	setup := func() (*crashfs.FS, []heap.FileInfo) {
		disk := crashfs.New()
		h := open(t, small(disk), nil)
		for _, class := range []heap.Class{12, 9} {
			_, err := h.Alloc(class, 10, 0)
			must(t, err)
		}
		must(t, h.Sync())
		return disk, h.Files()
	}
	for _, c := range []struct {
		what string
		do   func(disk *crashfs.FS, known *[]heap.FileInfo, o *heap.Options) error
		want error
	}{
		{"nothing", func(*crashfs.FS, *[]heap.FileInfo, *heap.Options) error { return nil }, nil},
		{"missing", func(d *crashfs.FS, _ *[]heap.FileInfo, _ *heap.Options) error { return d.Remove("heap/00000001") }, wal.ErrCorrupt},
		{"short", func(d *crashfs.FS, _ *[]heap.FileInfo, _ *heap.Options) error {
			f, err := d.Open("heap/00000001")
			return errors.Join(err, f.Truncate(5000))
		}, wal.ErrCorrupt},
		{"empty", func(d *crashfs.FS, _ *[]heap.FileInfo, _ *heap.Options) error {
			f, err := d.Open("heap/00000002")
			return errors.Join(err, f.Truncate(0))
		}, wal.ErrCorrupt},
		{"swapped", func(d *crashfs.FS, _ *[]heap.FileInfo, _ *heap.Options) error {
			return errors.Join(d.Rename("heap/00000001", "x"), d.Rename("heap/00000002", "heap/00000001"), d.Rename("x", "heap/00000002"))
		}, wal.ErrCorrupt},
		{"foreign store", func(_ *crashfs.FS, _ *[]heap.FileInfo, o *heap.Options) error {
			o.Store[3] ^= 1
			return nil
		}, wal.ErrCorrupt},
		{"foreign name", func(d *crashfs.FS, _ *[]heap.FileInfo, _ *heap.Options) error {
			_, err := d.Create("heap/0000000A")
			return err
		}, wal.ErrCorrupt},
		{"unknown below the known", func(_ *crashfs.FS, k *[]heap.FileInfo, _ *heap.Options) error {
			*k = (*k)[1:]
			return nil
		}, wal.ErrCorrupt},
		{"known twice", func(_ *crashfs.FS, k *[]heap.FileInfo, _ *heap.Options) error {
			*k = append(*k, (*k)[0])
			return nil
		}, wal.ErrCorrupt},
		{"other class", func(_ *crashfs.FS, k *[]heap.FileInfo, _ *heap.Options) error {
			(*k)[0].Class++
			return nil
		}, wal.ErrCorrupt},
		{"newer", func(d *crashfs.FS, _ *[]heap.FileInfo, _ *heap.Options) error {
			f, err := d.Open("heap/00000001")
			_, werr := f.WriteAt([]byte{2}, 4)
			return errors.Join(err, werr)
		}, wal.ErrVersion},
	} {
		disk, known := setup()
		o := small(disk)
		must(t, c.do(disk, &known, &o))
		ops := disk.Ops()
		h, err := heap.Open(o, known)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
		if disk.Ops() != ops {
			t.Errorf("%s: opening changed the disk", c.what)
		}
		if h != nil {
			h.Close()
		}
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	for what, make := range map[string]func(name string) error{
		"fifo":      func(name string) error { return syscall.Mkfifo(name, 0o600) },
		"link":      func(name string) error { return os.Symlink("elsewhere", name) },
		"directory": func(name string) error { return os.Mkdir(name, 0o700) },
	} {
		dir := t.TempDir()
		must(t, make(filepath.Join(dir, "00000001")))
		o := heap.Options{FS: vfs.OS(), Dir: dir, Store: store}
		if _, err := heap.Open(o, []heap.FileInfo{{Number: 1, Class: 12}}); !errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", what, err)
		}
	}
}

// A file that the manifest does not know yet is adopted when a record names
// slots of it, and removed otherwise; its number is not used again.
func TestLeftovers(t *testing.T) {
	disk := crashfs.New()
	h := open(t, small(disk), nil)
	named, err := h.Alloc(12, 4, 0)
	must(t, err)
	_, err = h.Alloc(13, 4, 0)
	must(t, err)
	must(t, h.Sync())

	h = open(t, small(disk), nil)
	if got := h.Leftovers(); !slices.Equal(got, []uint32{1, 2}) {
		t.Fatalf("leftovers %v", got)
	}
	must(t, h.MarkUsed(named[0]))
	must(t, h.MarkUsed(named[0]))
	must(t, h.RemoveLeftovers())
	if _, err := disk.Lstat("heap/00000002"); err == nil {
		t.Error("leftover 2 is still there")
	}
	if used := slices.Collect(h.Used(1)); !slices.Equal(used, named) {
		t.Errorf("used are %v, want %v", used, named)
	}
	got, err := h.Alloc(13, 1, 0)
	must(t, err)
	if got[0].First.File() != 3 {
		t.Errorf("number %d was used again", got[0].First.File())
	}
	must(t, h.Sync())
	if files := h.Files(); len(files) != 2 || files[0].Slots == 0 {
		t.Errorf("files are %v", files)
	}
}

// Whatever the moment of a power cut, what a Sync made durable is there, and
// the files that Files returned before are those that Open finds.
func TestPowerCut(t *testing.T) {
	type moment struct {
		op    int
		known []heap.FileInfo
		data  map[heap.Slot][]byte
	}
	disk := crashfs.New()
	o := small(disk)
	o.MaxFileBytes = 300 << 10
	h := open(t, o, nil)
	moments := []moment{{disk.Ops(), nil, nil}}
	data := map[heap.Slot][]byte{}
	for round := range 12 {
		class := []heap.Class{12, 9, 14}[round%3]
		got, err := h.Alloc(class, 30, 0)
		must(t, err)
		for _, e := range got {
			for i := range e.Count {
				s := e.First + heap.Slot(i)
				data[s] = content(s, class, uint64(round))
				must(t, h.Write(s, data[s]))
			}
		}
		must(t, h.Sync())
		copied := map[heap.Slot][]byte{}
		for s, b := range data {
			copied[s] = b
		}
		moments = append(moments, moment{disk.Ops(), h.Files(), copied})
	}
	at := 0
	for k := 1; k <= disk.Ops(); k++ {
		for at+1 < len(moments) && moments[at+1].op <= k {
			at++
		}
		models := []crashfs.Model{crashfs.KillOnly, crashfs.Ordered, crashfs.Posix, crashfs.MetadataOrdered(uint64(k)), crashfs.Random(uint64(k))}
		m := models[k%len(models)]
		o.FS = disk.Cut(k, m)
		h, err := heap.Open(o, moments[at].known)
		if err != nil {
			t.Fatalf("cut %d (%v): %v", k, m, err)
		}
		for s, want := range moments[at].data {
			got := make([]byte, len(want))
			if err := errors.Join(h.MarkUsed(heap.Extent{First: s, Count: 1}), h.ReadSlot(s, got)); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("cut %d (%v): slot %v was lost: %v", k, m, s, err)
			}
		}
		must(t, h.RemoveLeftovers())
		_, err = h.Alloc(12, 50, 0)
		must(t, err)
		must(t, h.Close())
	}
}

// Allocating, writing, reading, syncing and releasing at once.
func TestConcurrentUse(t *testing.T) {
	h := open(t, small(crashfs.New()), nil)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 0))
			for i := range 100 {
				class := heap.MinClass + heap.Class(r.IntN(8))
				got, err := h.Alloc(class, 1+r.IntN(20), r.IntN(4))
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range got {
					want := content(e.First, class, uint64(g*1000+i))
					read := make([]byte, class.Bytes())
					if err := errors.Join(h.Write(e.First, want), h.ReadSlot(e.First, read)); err != nil || !bytes.Equal(read, want) {
						t.Errorf("slot %v: %v", e.First, err)
					}
				}
				if i%10 == 0 {
					_, err = h.Fill()
					err = errors.Join(err, h.Sync())
				}
				if err := errors.Join(err, h.ReleaseAll(got)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if st := h.Stats(); st.Used != 0 || st.Free != st.Bytes {
		t.Errorf("after all releases: %+v", st)
	}
}

func TestReadOnly(t *testing.T) {
	disk := crashfs.New()
	h := open(t, small(disk), nil)
	got, err := h.Alloc(12, 1, 0)
	must(t, err)
	must(t, h.Sync())
	o := small(disk)
	o.ReadOnly = true
	ops := disk.Ops()
	r := open(t, o, h.Files())
	must(t, r.ReadSlot(got[0].First, make([]byte, 4096)))
	if _, err := r.Alloc(16, 1, 0); err == nil {
		t.Error("a heap opened for reading grew")
	}
	if r.Write(got[0].First, make([]byte, 4096)) == nil || r.Sync() == nil || disk.Ops() != ops {
		t.Error("a heap opened for reading changed the disk")
	}
}
