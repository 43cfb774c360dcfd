package quarantine_test

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
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/quarantine"
	"github.com/quire-db/quire/wal"
)

var (
	store = uuid.MustParse("0198c7a0-0000-7000-8000-000000000001")
	txn   = wal.TxnID{1}
	vol   = wal.VolumeID{2}
)

// setup is an area on a disk, and the heap beneath it.
func setup(t testing.TB, fs vfs.FS, dir string, limits quarantine.Limits) (*quarantine.Area, *heap.Heap) {
	t.Helper()
	h, err := heap.Open(heap.Options{FS: fs, Dir: filepath.Join(dir, "heap"), Store: store}, nil)
	must(t, err)
	t.Cleanup(func() { h.Close() })
	a, err := quarantine.Open(fs, filepath.Join(dir, "quarantine"), h, limits)
	must(t, err)
	return a, h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// page is bytes that no other page number and version has.
func page(size int, no, version uint64) []byte {
	b := make([]byte, size)
	binary.LittleEndian.PutUint64(b, no+1)
	binary.LittleEndian.PutUint64(b[size-8:], version)
	return b
}

func write(t testing.TB, p *quarantine.Pages, from, to, version uint64) {
	t.Helper()
	for no := from; no < to; no++ {
		must(t, p.Write(no, page(int(p.PageSize()), no, version)))
	}
}

func noneUsed(t testing.TB, h *heap.Heap) {
	t.Helper()
	if used := h.Stats().Used; used != 0 {
		t.Errorf("%d bytes of the heap are still in use", used)
	}
}

func TestReadWhatWasStaged(t *testing.T) {
	a, _ := setup(t, crashfs.New(), "", quarantine.Limits{})
	s := a.Begin(txn)
	p := s.Volume(vol, 512)
	write(t, p, 3, 5, 1)
	must(t, p.Write(6, make([]byte, 512)))
	must(t, p.Discard(4))
	must(t, p.Truncate(100))
	for no, want := range map[uint64]quarantine.Found{2: quarantine.NotStaged, 3: quarantine.Present,
		4: quarantine.Discarded, 6: quarantine.Discarded, 99: quarantine.NotStaged, 100: quarantine.Discarded} {
		dst := bytes.Repeat([]byte{9}, 512)
		found, err := p.Read(no, dst)
		must(t, err)
		expect := map[quarantine.Found][]byte{quarantine.NotStaged: bytes.Repeat([]byte{9}, 512),
			quarantine.Present: page(512, no, 1), quarantine.Discarded: make([]byte, 512)}[want]
		if found != want || !bytes.Equal(dst, expect) {
			t.Errorf("page %d: found %d, want %d", no, found, want)
		}
	}
	if p.Len() != 1 || p.Cut() != 100 {
		t.Errorf("%d pages, cut at %d", p.Len(), p.Cut())
	}
	must(t, s.Release())
	if a.Bytes() != 0 {
		t.Errorf("%d bytes in memory after Release", a.Bytes())
	}
}

func TestLimitsAreKept(t *testing.T) {
	a, h := setup(t, crashfs.New(), "", quarantine.Limits{StageBytes: 64 << 10, TotalBytes: 100 << 10})
	var stages []*quarantine.Stage
	for i := range 4 {
		s := a.Begin(wal.TxnID{byte(i)})
		stages = append(stages, s)
		for no := range uint64(100) {
			must(t, s.Volume(vol, 4096).Write(no, page(4096, no, uint64(i))))
			if limit := int64(100<<10 + 4*4096); a.Bytes() > limit {
				t.Fatalf("%d bytes in memory, want at most %d", a.Bytes(), limit)
			}
		}
	}
	for i, s := range stages {
		dst := make([]byte, 4096)
		for no := range uint64(100) {
			_, err := s.Volume(vol, 4096).Read(no, dst)
			if must(t, err); !bytes.Equal(dst, page(4096, no, uint64(i))) {
				t.Fatalf("stage %d reads page %d otherwise", i, no)
			}
		}
		must(t, s.Release())
	}
	noneUsed(t, h)
}

// A spilled page that no savepoint needs goes to its own slot again, and a slot
// of a page that was dropped serves the next.
func TestSlotsAreUsedAgain(t *testing.T) {
	a, h := setup(t, crashfs.New(), "", quarantine.Limits{StageBytes: 256 << 10})
	s := a.Begin(txn)
	p := s.Volume(vol, 4096)
	write(t, p, 0, 512, 1)
	for version := range uint64(5) {
		write(t, p, 0, 512, 2+version)
	}
	for no := range uint64(512) {
		must(t, p.Discard(no))
	}
	write(t, p, 1000, 1512, 1)
	if used := h.Stats().Used; used > 512*4096 {
		t.Errorf("%d slots hold 512 pages", used/4096)
	}
	must(t, s.Release())
	noneUsed(t, h)
}

func TestEachPageIsWrittenOnce(t *testing.T) {
	disk := crashfs.New()
	a, _ := setup(t, disk, "", quarantine.Limits{})
	s := a.Begin(txn)
	write(t, s.Volume(vol, 4096), 0, 8192, 1)
	b, err := s.Seal()
	must(t, err)
	extents, err := b.Body()
	must(t, err)
	written := 0
	for _, op := range disk.Log() {
		if op.Kind == crashfs.Write {
			written += op.Length
		}
	}
	if limit := 32<<20 + 64<<10; written > limit || len(extents) > 2 {
		t.Errorf("%d bytes written in %d extents for 32 MiB", written, len(extents))
	}
}

func TestSavepointsGoneAreRefused(t *testing.T) {
	a, _ := setup(t, crashfs.New(), "", quarantine.Limits{})
	s := a.Begin(txn)
	one := s.Mark()
	two := s.Mark()
	must(t, s.RollbackTo(one))
	if s.RollbackTo(two) == nil {
		t.Error("a savepoint that is gone was rolled back to")
	}
	must(t, s.RollbackTo(one))
	if a.Begin(txn).RollbackTo(quarantine.Savepoint{}) == nil {
		t.Error("the zero savepoint was rolled back to")
	}
}

// What was staged since a savepoint leaves memory and heap with it.
func TestRollbackGivesBack(t *testing.T) {
	for _, limit := range []int64{4096, 4 << 20} {
		a, h := setup(t, crashfs.New(), "", quarantine.Limits{StageBytes: limit})
		s := a.Begin(txn)
		p := s.Volume(vol, 512)
		write(t, p, 0, 50, 1)
		for no := range uint64(50) {
			must(t, p.Discard(no))
		}
		sp := s.Mark()
		bytes, used := a.Bytes(), h.Stats().Used
		for range 3 {
			write(t, p, 0, 50, 2)
			must(t, s.RollbackTo(sp))
		}
		if a.Bytes() != bytes || h.Stats().Used != used {
			t.Errorf("%d bytes in memory and %d in the heap, were %d and %d", a.Bytes(), h.Stats().Used, bytes, used)
		}
		must(t, s.Release())
		noneUsed(t, h)
	}
}

// Promise 9: what a stage reads from the heap is verified.
func TestDamagedSpillIsSeen(t *testing.T) {
	a, h := setup(t, crashfs.New(), "", quarantine.Limits{StageBytes: 4096})
	s := a.Begin(txn)
	p := s.Volume(vol, 4096)
	write(t, p, 0, 2, 1) // page 0 lies in the heap
	for e := range h.Used(1) {
		must(t, h.Write(e.First, page(4096, 1, 1)))
	}
	if _, err := p.Read(0, make([]byte, 4096)); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("a damaged slot reads with %v", err)
	}
}

// A disk full at a spill refuses that write only.
func TestFullDisk(t *testing.T) {
	disk := crashfs.New()
	a, h := setup(t, disk, "", quarantine.Limits{StageBytes: 64 << 10})
	s := a.Begin(txn)
	p := s.Volume(vol, 4096)
	write(t, p, 0, 40, 1)
	for _, kind := range []crashfs.Kind{crashfs.Write, crashfs.Create} {
		disk.Inject(crashfs.FailKind(syscall.ENOSPC, kind))
		var refused error
		for no := uint64(0); no < 40 && refused == nil; no++ {
			refused = p.Write(no, page(4096, no, 1))
		}
		if kind == crashfs.Write && !errors.Is(refused, syscall.ENOSPC) {
			t.Errorf("%s fails: %v", kind, refused)
		}
		dst := make([]byte, 4096)
		for no := range uint64(40) {
			if _, err := p.Read(no, dst); err != nil || !bytes.Equal(dst, page(4096, no, 1)) {
				t.Fatalf("%s failed: page %d reads otherwise: %v", kind, no, err)
			}
		}
	}
	disk.Inject(crashfs.FailKind(syscall.ENOSPC, crashfs.Write))
	if _, err := s.Seal(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("sealing on a full disk: %v", err)
	}
	disk.Inject(nil)
	b, err := s.Seal()
	must(t, err)
	if b.Size() != 40*4096 {
		t.Errorf("body of %d bytes", b.Size())
	}
	must(t, s.Release())
	noneUsed(t, h)
}

func TestAppendedRows(t *testing.T) {
	for _, limit := range []int64{8192, 4 << 20} {
		a, h := setup(t, crashfs.New(), "", quarantine.Limits{StageBytes: limit})
		s := a.Begin(txn)
		write(t, s.Volume(vol, 512), 0, 100, 1)
		b, err := s.Seal()
		must(t, err)
		chunks := [][]byte{bytes.Repeat([]byte{7}, 5000), bytes.Repeat([]byte{8}, 12)}
		var at []uint64
		for _, c := range chunks {
			off, err := b.Append(c)
			must(t, err)
			at = append(at, off)
		}
		body := bodyOf(t, h, b)
		for i, c := range chunks {
			got := make([]byte, len(c))
			if _, err := body.ReadAt(got, int64(at[i])); err != nil || !bytes.Equal(got, c) {
				t.Errorf("chunk %d reads otherwise: %v", i, err)
			}
		}
		if b.InHeap() != (limit == 8192) {
			t.Errorf("body in the heap: %v", b.InHeap())
		}
		must(t, s.Release())
		noneUsed(t, h)
	}
}

// bodyOf is the body of a sealed stage wherever it lies.
func bodyOf(t testing.TB, h *heap.Heap, b *quarantine.Sealed) io.ReaderAt {
	t.Helper()
	extents, err := b.Body()
	must(t, err)
	if !b.InHeap() {
		return bytes.NewReader(b.AppendBody(nil))
	}
	body, err := h.Body(extents)
	must(t, err)
	return body
}

func TestSealedIsSealed(t *testing.T) {
	a, h := setup(t, crashfs.New(), "", quarantine.Limits{StageBytes: 4096})
	s := a.Begin(txn)
	p := s.Volume(vol, 4096)
	write(t, p, 0, 4, 1)
	sp := s.Mark()
	b, err := s.Seal()
	must(t, err)
	_, again := s.Seal()
	for what, err := range map[string]error{"write": p.Write(0, page(4096, 0, 1)), "discard": p.Discard(0),
		"truncate": p.Truncate(0), "rollback": s.RollbackTo(sp), "seal": again} {
		if err == nil {
			t.Errorf("%s after Seal was allowed", what)
		}
	}
	b.Adopt()
	must(t, s.Release())
	if used := h.Stats().Used; used != 4*4096 {
		t.Errorf("%d bytes in use after adoption, want 4 pages", used)
	}
}

func TestPagesBeyondTheLimits(t *testing.T) {
	a, _ := setup(t, crashfs.New(), "", quarantine.Limits{})
	p := a.Begin(txn).Volume(vol, 512)
	for what, err := range map[string]error{
		"page number": p.Write(wal.MaxPages, make([]byte, 512)),
		"short page":  p.Write(0, make([]byte, 511)),
		"long page":   p.Write(0, make([]byte, 1024)),
		"discard":     p.Discard(wal.MaxPages),
	} {
		if err == nil {
			t.Errorf("%s beyond the limits was allowed", what)
		}
	}
	must(t, p.Write(wal.MaxPages-1, page(512, 1, 1)))
}

// A crash leaves ledgers; Sweep counts and removes them, torn ones too.
func TestSweep(t *testing.T) {
	disk := crashfs.New()
	a, h := setup(t, disk, "", quarantine.Limits{StageBytes: 64 << 10})
	s := a.Begin(txn)
	write(t, s.Volume(vol, 4096), 0, 100, 1)
	used := h.Stats().Used
	for k := range disk.Ops() + 1 {
		for _, model := range []crashfs.Model{crashfs.KillOnly, crashfs.Random(uint64(k))} {
			image := disk.Cut(k, model)
			h, err := heap.Open(heap.Options{FS: image, Dir: "heap", Store: store}, nil)
			must(t, err)
			a, err := quarantine.Open(image, "quarantine", h, quarantine.Limits{})
			must(t, err)
			swept, err := a.Sweep()
			must(t, err)
			if swept.Bytes > used || k == disk.Ops() && model == crashfs.KillOnly && (swept.Bytes != used || swept.Stages != 1) {
				t.Errorf("cut %d (%v): swept %+v, %d bytes were used", k, model, swept, used)
			}
			if left, err := image.ReadDir("quarantine"); err != nil || len(left) != 0 {
				t.Errorf("cut %d (%v): left %v, %v", k, model, left, err)
			}
		}
	}
}

func TestSweepRefusesNewerLedgers(t *testing.T) {
	disk := crashfs.New()
	a, _ := setup(t, disk, "", quarantine.Limits{})
	f, err := disk.Create("quarantine/x.stage")
	must(t, err)
	_, err = f.WriteAt(append([]byte("QSTG\x02"), make([]byte, 100)...), 0)
	must(t, err)
	if _, err := a.Sweep(); !errors.Is(err, wal.ErrVersion) {
		t.Errorf("a newer ledger: %v", err)
	}
}

func TestKeepTail(t *testing.T) {
	disk := crashfs.New()
	a, _ := setup(t, disk, "", quarantine.Limits{})
	tail := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{1}).Read(tail)
	for _, n := range []int{100, len(tail)} { // the second recovery replaces
		file, err := a.KeepTail("0123-456", bytes.NewReader(tail[:n]))
		must(t, err)
		if file != "00000001-0123-456.tail" {
			t.Errorf("the copy is %q", file)
		}
		image := disk.Cut(disk.Ops(), crashfs.Posix)
		f, err := image.OpenRead(filepath.Join("quarantine", file))
		must(t, err)
		got := make([]byte, n)
		if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, tail[:n]) {
			t.Errorf("the tail of %d bytes was lost: %v", n, err)
		}
	}
	_, err := a.Sweep()
	must(t, err)
	if list, _ := disk.ReadDir("quarantine"); len(list) != 1 {
		t.Errorf("sweeping left %v", list)
	}
	for _, name := range []string{"", "a/b", "..", ".x"} {
		if _, err := a.KeepTail(name, strings.NewReader("")); err == nil {
			t.Errorf("%q was taken for a name", name)
		}
	}
}

// Of the copies only the newest stay, but all of those just made.
func TestOldTailsAreRemoved(t *testing.T) {
	disk := crashfs.New()
	a, _ := setup(t, disk, "", quarantine.Limits{})
	f, err := disk.Create("quarantine/ffffffffffffffff-0.tail") // made before copies were numbered
	must(t, err)
	must(t, f.Close())
	keep := func(a *quarantine.Area, names ...int) {
		for _, n := range names {
			_, err := a.KeepTail(fmt.Sprintf("%016x-%d", uint64(n)*0x9e3779b97f4a7c15, n), strings.NewReader("tail")) // random order, as of names
			must(t, err)
		}
	}
	sweep := func(a *quarantine.Area, removed int, left ...int) {
		t.Helper()
		swept, err := a.Sweep()
		if must(t, err); swept.Tails != removed {
			t.Errorf("%d copies were removed, not %d", swept.Tails, removed)
		}
		list, err := disk.ReadDir("quarantine")
		must(t, err)
		var got []int
		for _, e := range list {
			n, err := strconv.Atoi(strings.TrimSuffix(e.Name[strings.LastIndex(e.Name, "-")+1:], ".tail"))
			must(t, err)
			got = append(got, n)
		}
		slices.Sort(got)
		if !slices.Equal(got, left) {
			t.Errorf("left are %v, not %v", got, left)
		}
	}
	upTo := func(first, last int) (list []int) {
		for n := first; n <= last; n++ {
			list = append(list, n)
		}
		return list
	}
	again := func() *quarantine.Area {
		a, err := quarantine.Open(disk, "quarantine", nil, quarantine.Limits{})
		must(t, err)
		return a
	}
	keep(a, upTo(1, 15)...)
	sweep(a, 0, upTo(0, 15)...)
	keep(again(), 16, 17) // a recovery that crashed before it swept
	b := again()
	keep(b, 16, 17)
	sweep(b, 2, upTo(2, 17)...)
	sweep(again(), 0, upTo(2, 17)...)
	c := again()
	keep(c, upTo(18, 40)...)
	sweep(c, 16, upTo(18, 40)...)
	sweep(again(), 7, upTo(25, 40)...)
}

func TestOpenMakesTheDirectoryDurable(t *testing.T) {
	disk := crashfs.New()
	setup(t, disk, "", quarantine.Limits{})
	if _, err := disk.Cut(disk.Ops(), crashfs.Posix).ReadDir("quarantine"); err != nil {
		t.Error(err)
	}
}

func TestOnARealDisk(t *testing.T) {
	dir := t.TempDir()
	a, h := setup(t, vfs.OS(), dir, quarantine.Limits{StageBytes: 1 << 20})
	s := a.Begin(txn)
	p := s.Volume(vol, 8192)
	write(t, p, 0, 500, 1)
	b, err := s.Seal()
	must(t, err)
	body := bodyOf(t, h, b)
	for row := range b.Rows(p) {
		got := make([]byte, 8192)
		if _, err := body.ReadAt(got, int64(row.Locator.Offset())); err != nil || wal.HashPage(row.Page, got) != row.Hash {
			t.Fatalf("page %d: %v", row.Page, err)
		}
	}
	must(t, s.Release())
	if left, err := os.ReadDir(filepath.Join(dir, "quarantine")); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func ExampleArea() {
	disk := crashfs.New()
	h, _ := heap.Open(heap.Options{FS: disk, Dir: "heap", Store: store}, nil)
	area, _ := quarantine.Open(disk, "quarantine", h, quarantine.Limits{})

	stage := area.Begin(txn)
	defer stage.Release()
	pages := stage.Volume(vol, 512)
	pages.Write(3, bytes.Repeat([]byte{'a'}, 512))
	before := stage.Mark()
	pages.Discard(3)
	stage.RollbackTo(before)

	sealed, _ := stage.Seal()
	for row := range sealed.Rows(pages) {
		fmt.Println("page", row.Page, "at byte", row.Locator.Offset(), "of", sealed.Size())
	}
	fmt.Println(slices.Collect(pages.Discards()))
	// Output:
	// page 3 at byte 0 of 512
	// []
}
