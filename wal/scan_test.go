package wal

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// edit changes the bytes of generation i on disk.
func (r *rig) edit(i int, change func(b []byte) []byte) {
	r.t.Helper()
	r.must(os.WriteFile(r.path(i), change(r.bytes(i)), 0o600))
}

// trim drops the zeros behind the last record, to keep scans short, and returns
// the file.
func (r *rig) trim() []byte {
	r.t.Helper()
	r.must(os.Truncate(r.path(len(r.gens)-1), r.log.tail.written))
	return r.bytes(len(r.gens) - 1)
}

// records are all records of the log as it is, by LSN; [0] is nil.
func (r *rig) records() []Record {
	r.t.Helper()
	list := make([]Record, 1)
	for rec, err := range Records(r.fs, r.dir, r.gens, 1, 0) {
		r.must(err)
		list = append(list, *rec)
	}
	return list
}

// spoil flips a bit in the entry with LSN n, in generation i.
func (r *rig) spoil(i int, rec Record) {
	r.edit(i, func(b []byte) []byte { b[rec.Offset+rec.Length-9] ^= 4; return b })
}

func (r *rig) wantCorrupt(n LSN) {
	r.t.Helper()
	res, err := r.scan()
	var c *CorruptError
	if !errors.As(err, &c) || !strings.HasPrefix(c.File, "wal/") || c.LSN != n {
		r.t.Fatalf("scan: %+v, %v; want corruption at LSN %d", res, err, n)
	}
}

func (r *rig) wantCut(last LSN, entries int) *Cut {
	r.t.Helper()
	res, err := r.scan()
	r.must(err)
	if res.Last != last || res.Cut == nil || res.Cut.LSN != last+1 || res.Cut.Entries != entries {
		r.t.Fatalf("scan ends at %d, cut %+v; want %d and %d entries cut", res.Last, res.Cut, last, entries)
	}
	if res.Hash != r.placed[last-1].Hash || res.Durable.LSN > last {
		r.t.Fatalf("%+v", res)
	}
	return res.Cut
}

// TestBadInsideUnsyncedGroup is storage review, finding 4: a power cut keeps
// later blocks of a write and loses an earlier one. Nothing was acknowledged.
func TestBadInsideUnsyncedGroup(t *testing.T) {
	r := newRig(t)
	r.commit(10, Body{})
	r.append(20, 10, inline(300))
	bad := r.records()[13]
	r.spoil(0, bad)
	c := r.wantCut(12, 18)
	if c.Offset != bad.Offset || c.Bytes != int64(len(bytes.TrimRight(r.trim(), "\x00")))-bad.Offset {
		t.Errorf("%+v", c)
	}
}

// TestBadBelowLaterMark is the same with a later frame that says it was synced.
func TestBadBelowLaterMark(t *testing.T) {
	for _, by := range []string{"mark", "group"} {
		t.Run(by, func(t *testing.T) {
			r := newRig(t)
			r.commit(10, Body{})
			r.commit(20, inline(300))
			if by == "mark" {
				r.must(r.log.AppendMark(30))
			} else {
				r.append(1, 30, Body{})
			}
			r.spoil(0, r.records()[13])
			before := r.bytes(0)
			r.wantCorrupt(13)
			if !bytes.Equal(before, r.bytes(0)) {
				t.Error("the scan changed the file")
			}
		})
	}
}

// TestBadAboveLaterMark: the mark behind the bad frame says less than its LSN.
func TestBadAboveLaterMark(t *testing.T) {
	r := newRig(t)
	r.commit(10, Body{})
	r.append(5, 10, Body{})
	r.append(5, 12, Body{}) // written before 13 to 15 were known synced
	recs := r.records()
	r.spoil(0, recs[13])
	r.wantCut(12, 8)
	r.spoil(0, recs[12])
	r.wantCorrupt(12)
}

func TestEveryTruncation(t *testing.T) {
	r := newRig(t)
	r.commit(2, Body{})
	r.append(3, 2, inline(100))
	whole, recs := r.trim(), r.records()
	for n := len(whole); n >= 0; n-- {
		r.must(os.Truncate(r.path(0), int64(n)))
		want := LSN(0)
		for want < 5 && recs[want+1].Offset+recs[want+1].Length <= int64(n) {
			want++
		}
		res, err := r.scan()
		if err != nil || res.Last != want {
			t.Fatalf("cut to %d bytes: %+v, %v; want %d", n, res, err, want)
		}
	}
}

// TestEveryFlip: in a store that was closed every flipped bit is found; in one
// that was not, what is left is what was written, and never less than is known
// durable.
func TestEveryFlip(t *testing.T) {
	for _, closed := range []bool{true, false} {
		r := newRig(t)
		r.commit(1, Body{})
		r.commit(2, inline(20))
		r.commit(1, Body{Extents: []Extent{{1, 4096}}})
		if closed {
			facts, err := r.log.Close()
			r.must(err)
			r.store(facts)
		} else {
			r.trim()
		}
		in := r.input()
		if closed {
			in.Clean = 4
		}
		f, err := os.OpenFile(r.path(0), os.O_RDWR, 0)
		r.must(err)
		defer f.Close()
		whole, found := r.bytes(0), 0
		for bit := range 8 * len(whole) {
			at := int64(bit / 8)
			f.WriteAt([]byte{whole[at] ^ 1<<(bit%8)}, at)
			res, err := Scan(in)
			f.WriteAt(whole[at:at+1], at)
			switch {
			case errors.Is(err, ErrCorrupt):
				found++
			case err != nil:
				t.Fatalf("bit %d: %v", bit, err)
			case closed:
				t.Fatalf("bit %d: not found", bit)
			case res.Cut == nil || res.Last < res.Durable.LSN || res.Last > 0 && res.Hash != r.placed[res.Last-1].Hash:
				t.Fatalf("bit %d: %+v", bit, res)
			}
		}
		t.Logf("closed %v: %d of %d flips are corruption", closed, found, 8*len(whole))
	}
}

// TestTornSectors loses, zeroes, garbles or brings back old bytes in random
// sectors of a tail that was not synced: what is left is a prefix.
func TestTornSectors(t *testing.T) {
	r := newRig(t)
	r.commit(5, inline(700))
	r.append(20, 5, inline(700))
	whole, recs := r.trim(), r.records()
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 300 {
		b := bytes.Clone(whole)
		hit := len(whole)
		for at := int(recs[6].Offset); at < len(b); at = at/512*512 + 512 {
			if rng.IntN(8) > 0 {
				continue
			}
			end := min(at/512*512+512, len(b))
			switch rng.IntN(3) {
			case 0:
				clear(b[at:end])
			case 1:
				for i := at; i < end; i++ {
					b[i] = byte(rng.Uint32())
				}
			case 2:
				copy(b[at:end], whole[rng.IntN(at):])
			}
			hit = min(hit, at)
		}
		r.must(os.WriteFile(r.path(0), b, 0o600))
		res, err := r.scan()
		if err != nil || res.Last < 5 || res.Hash != r.placed[res.Last-1].Hash {
			t.Fatalf("seed %d: %+v, %v", seed, res, err)
		}
		for n := LSN(6); n <= 25; n++ {
			if recs[n].Offset+recs[n].Length <= int64(hit) && res.Last < n {
				t.Fatalf("seed %d: scan ends at %d, entry %d was whole", seed, res.Last, n)
			}
		}
	}
}

// TestOwnOldLogIsNeverTaken: copies of this store's log, of this and of older
// generations, in pages and behind the tail.
func TestOwnOldLogIsNeverTaken(t *testing.T) {
	older := newRig(t) // the same entries: another nonce tells them apart
	older.commit(4, Body{})
	older.append(2, 4, Body{})
	older.must(older.log.AppendMark(6))
	older.trim()

	t.Run("older generation behind the tail", func(t *testing.T) {
		r := newRig(t)
		r.commit(4, Body{})
		r.trim()
		tail := older.bytes(0)[older.records()[5].Offset:]
		r.edit(0, func(b []byte) []byte { return append(b, tail...) })
		written := len(bytes.TrimRight(tail, "\x00")) // its last byte is one of a hash
		if c := r.wantCut(4, 1); c.Bytes != int64(written) {
			t.Errorf("%+v", c)
		}
	})
	t.Run("older generation in a page, the frame before it bad", func(t *testing.T) {
		r := newRig(t)
		r.commit(4, Body{})
		r.append(1, 4, Body{})
		r.append(1, 4, Body{Inline: older.bytes(0)}) // marks up to 6
		r.spoil(0, r.records()[5])
		r.wantCut(4, 2)
	})
	t.Run("this generation in a page, the frame before it bad", func(t *testing.T) {
		r := newRig(t)
		r.commit(4, Body{})
		r.append(1, 4, Body{})
		copied := r.trim()
		r.append(1, 4, Body{Inline: copied}) // its marks are true: up to 3
		r.spoil(0, r.records()[5])
		r.wantCut(4, 2)
	})
	t.Run("this generation behind the tail", func(t *testing.T) {
		r := newRig(t)
		r.commit(4, Body{})
		r.append(2, 4, Body{})
		rec := r.records()[6]
		copied := r.bytes(0)[rec.Offset:][:rec.Length]
		r.edit(0, func([]byte) []byte { return append(r.trim(), copied...) })
		r.wantCut(6, 1)
	})
	t.Run("an older file under this generation's name", func(t *testing.T) {
		r := newRig(t)
		r.commit(4, Body{})
		r.edit(0, func([]byte) []byte { return older.bytes(0) })
		res, err := r.scan()
		if err != nil || res.Last != 0 || res.Cut == nil {
			t.Fatalf("%+v, %v", res, err)
		}
		in := r.input()
		in.Checkpoint, in.CheckpointHash = 2, r.placed[1].Hash
		if _, err := Scan(in); !errors.Is(err, ErrCorrupt) {
			t.Errorf("with a checkpoint at 2: %v", err)
		}
	})
}

func TestManifestPutBack(t *testing.T) {
	for _, behind := range []bool{false, true} {
		r := newRig(t)
		r.commit(2, Body{})
		g, err := r.log.NewGroup(2)
		r.must(err)
		r.add(g, Body{})
		r.must(r.log.Append(g, 2))
		if behind {
			r.spoil(0, r.records()[3])
		}
		if _, err := r.scan(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("behind a bad frame %v: %v", behind, err)
		}
	}
}

func TestNewerFrameIsRefused(t *testing.T) {
	r := newRig(t)
	r.commit(3, Body{})
	rec := r.records()[2]
	r.edit(0, func(b []byte) []byte {
		f := b[rec.Offset+rec.Length-int64(rec.size()):]
		f[4]++
		sealFrame(f, rec.Durable)
		return b
	})
	if _, err := r.scan(); !errors.Is(err, ErrVersion) {
		t.Errorf("%v", err)
	}
}

func TestForeignTimeline(t *testing.T) {
	r := newRig(t)
	r.commit(3, Body{})
	g, err := r.log.NewGroup(1)
	r.must(err)
	e := r.next()
	e.Timeline = uid(7)
	_, err = g.Add(e, Body{})
	r.must(err)
	r.must(r.log.Append(g, 3))
	r.wantCut(3, 1)
}

func TestImagesAboveDurable(t *testing.T) {
	r := newRig(t)
	body := Body{Extents: []Extent{{1, 4096}}}
	r.commit(3, body)
	r.append(1, 3, Body{})
	r.append(1, 3, Body{Extents: body.Extents, Exempt: true})
	r.append(2, 3, body)
	in, fault := r.input(), error(nil)
	var asked []LSN
	in.CheckImages = func(rec *Record) error {
		asked = append(asked, rec.LSN)
		return fault
	}
	if res, err := Scan(in); err != nil || res.Last != 7 || len(asked) != 2 || asked[0] != 6 {
		t.Fatalf("%+v, %v, asked for %v", res, err, asked)
	}
	fault = &CorruptError{File: "heap/1", Reason: "other bytes"}
	if res, err := Scan(in); err != nil || res.Last != 5 || res.Cut == nil || res.Cut.Entries != 2 || res.Cut.Offset != r.records()[6].Offset {
		t.Fatalf("%+v, %v", res, err)
	}
	fault = syscall.EIO
	if _, err := Scan(in); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrCorrupt) {
		t.Fatalf("a read error: %v", err)
	}
}

// TestTwoOpenGenerations: full, rotated, and not yet sealed when power failed.
func TestTwoOpenGenerations(t *testing.T) {
	rotated := func(t *testing.T) *rig {
		r := newRig(t)
		for range 5 {
			r.commit(1, inline(1<<20-2000))
		}
		r.prepare(0)
		r.append(3, 5, Body{})
		return r
	}
	t.Run("whole", func(t *testing.T) {
		r := rotated(t)
		if res, err := r.scan(); err != nil || res.Last != 8 || res.Durable.LSN != 5 || res.Cut != nil {
			t.Fatalf("%+v, %v", res, err)
		}
	})
	t.Run("the second says the first was durable", func(t *testing.T) {
		r := rotated(t)
		r.spoil(0, r.records()[5])
		r.wantCorrupt(5)
	})
	t.Run("the end of the first is zeros", func(t *testing.T) {
		r := rotated(t)
		rec := r.records()[5]
		r.edit(0, func(b []byte) []byte { clear(b[rec.Offset:]); return b })
		r.wantCorrupt(5)
	})
	t.Run("a mark behind the first stays", func(t *testing.T) {
		r := newRig(t)
		for range 5 {
			r.commit(1, inline(1<<20-2000))
		}
		r.must(r.log.AppendMark(5))
		r.must(r.log.Sync())
		r.prepare(0)
		r.append(3, 5, Body{})
		r.append(1, 8, Body{}) // says that those before are durable
		last := r.records()[5]
		res, err := r.scan()
		if err != nil || len(res.Keep) == 0 || res.Keep[0].Length <= last.Offset+last.Length {
			t.Fatalf("%+v, %v: the last record ends at byte %d", res, err, last.Offset+last.Length)
		}
	})
	t.Run("the second is torn", func(t *testing.T) {
		r := rotated(t)
		r.spoil(1, r.records()[6])
		if c := r.wantCut(5, 3); c.Gen != r.gens[1].ID || len(c.Parts) != 1 {
			t.Fatalf("%+v", c)
		}
	})
}

func TestFilesThatAreNotTheLog(t *testing.T) {
	spoilers := map[string]func(path string) error{
		"missing":   os.Remove,
		"link":      func(p string) error { return errors.Join(os.Rename(p, p+"x"), os.Symlink(p+"x", p)) },
		"fifo":      func(p string) error { return errors.Join(os.Remove(p), syscall.Mkfifo(p, 0o600)) },
		"directory": func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) },
		"long":      func(p string) error { return os.Truncate(p, 1<<20) },
		"short":     func(p string) error { return os.Truncate(p, 400) },
		"empty":     func(p string) error { return os.Truncate(p, 0) },
		"gone":      func(p string) error { return os.RemoveAll(filepath.Dir(p)) },
	}
	for name, spoil := range spoilers {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.commit(3, Body{})
			facts, err := r.log.Close()
			r.must(err)
			r.store(facts)
			r.must(spoil(r.path(0)))
			if _, err := r.scan(); !errors.Is(err, ErrCorrupt) {
				t.Errorf("scan: %v", err)
			}
			for _, err := range Records(r.fs, r.dir, r.gens, 1, 3) {
				if err != nil && !errors.Is(err, ErrCorrupt) {
					t.Errorf("records: %v", err)
				}
			}
		})
	}
}

// TestTailIsMovedBeforeOpen walks the steps by which recovery writes anew what
// was not known durable, and scans between any two: no entry is ever lost.
func TestTailIsMovedBeforeOpen(t *testing.T) {
	r := newRig(t)
	r.commit(4, Body{})
	r.append(3, 4, inline(50))
	r.append(1, 4, Body{})
	bad := r.records()[8]
	r.spoil(0, bad)

	want := func(step string) *ScanResult {
		t.Helper()
		res, err := r.scan()
		if err != nil || res.Last != 7 || res.Hash != r.placed[6].Hash {
			t.Fatalf("%s: %+v, %v", step, res, err)
		}
		return res
	}
	res := want("crashed")
	old := r.records()
	r.last = res.Durable
	known := r.gens
	r.open(res.Durable.LSN + 1)
	g, err := r.log.NewGroup(2)
	r.must(err)
	for _, rec := range old[5:8] {
		_, err := g.Add(rec.Entry, inline(50))
		r.must(err)
	}
	r.must(r.log.Append(g, 4))
	r.must(r.log.Sync())
	r.must(r.log.AppendMark(7))
	r.must(r.log.Sync())
	both := r.gens

	r.gens = known
	want("copied, not yet known")
	r.gens = both
	in := r.input()
	in.ManifestSeq = 2
	if res, err := Scan(in); err != nil || res.Last != 7 || res.Cut != nil || res.Durable.LSN != 7 {
		t.Fatalf("known: %+v, %v", res, err)
	}
	r.must(CutBack(r.fs, r.dir, res.Keep[0]))
	for _, sealed := range []bool{false, true} {
		if sealed {
			r.gens[0] = res.Keep[0]
		}
		in.Generations = r.gens
		if res, err := Scan(in); err != nil || res.Last != 7 || res.Cut != nil {
			t.Fatalf("cut back, sealed %v: %+v, %v", sealed, res, err)
		}
		if n := len(r.records()); n != 8 {
			t.Errorf("%d records are read", n-1)
		}
	}
}

func TestRecordsWantTheirEnd(t *testing.T) {
	r := newRig(t)
	r.commit(3, Body{})
	var last error
	for _, err := range Records(r.fs, r.dir, r.gens, 2, 4) {
		last = err
	}
	if !errors.Is(last, ErrCorrupt) {
		t.Errorf("read to an entry that is not there: %v", last)
	}
	r.gens[0].First = 3
	if _, err := NewReader(r.fs, r.dir, r.gens, 2); !errors.Is(err, ErrCompacted) {
		t.Errorf("read from before the log: %v", err)
	}
}

// TestMarkIsFoundAnywhere: behind garbage, also where the search reads on.
func TestMarkIsFoundAnywhere(t *testing.T) {
	r := newRig(t)
	r.commit(3, Body{})
	whole := r.trim()
	mark := encodeFrame(Frame{Kind: FrameMark, Gen: r.gens[0].ID, Timeline: uid(1), LSN: 4, Manifest: 1}, 4, nil)
	for at := searchAhead - frameHeader - 9; at < searchAhead+9; at++ {
		tail := bytes.Repeat([]byte{0xFF}, at)
		r.must(os.WriteFile(r.path(0), append(append(bytes.Clone(whole), tail...), mark...), 0o600))
		r.wantCorrupt(4)
	}
}

func TestBrokenChain(t *testing.T) {
	r := newRig(t)
	r.commit(3, Body{})
	r.last.Hash[0] ^= 1
	r.log.end.Hash = r.last.Hash
	r.commit(1, Body{})
	r.wantCut(3, 1)
}

// TestMissingEnd: zeros where entries must be.
func TestMissingEnd(t *testing.T) {
	r := newRig(t)
	r.commit(4, Body{})
	rec := r.records()[3]
	r.edit(0, func(b []byte) []byte { clear(b[rec.Offset:]); return b })
	for _, known := range []struct{ checkpoint, clean, want LSN }{{2, 0, 2}, {3, 0, 0}, {2, 4, 0}, {1, 2, 2}} {
		in := r.input()
		in.Checkpoint, in.CheckpointHash, in.Clean = known.checkpoint, r.placed[known.checkpoint-1].Hash, known.clean
		res, err := Scan(in)
		if known.want == 0 && !errors.Is(err, ErrCorrupt) || known.want != 0 && (err != nil || res.Last != known.want) {
			t.Errorf("checkpoint %d, clean %d: %+v, %v", known.checkpoint, known.clean, res, err)
		}
	}
}
