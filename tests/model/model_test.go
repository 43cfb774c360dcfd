package model

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestModel runs random histories. More of them: -rapid.checks=10000.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "quire-model")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		r := &run{t: t, dir: dir, now: State{}, opts: txn.Options{
			Create: true, GenerationBytes: wal.MinGenerationBytes, CheckpointEvery: -1, TxTimeout: time.Hour,
			StageBytes:      rapid.SampledFrom([]int64{1, 16 << 10, 0}).Draw(t, "StageBytes"),
			InlineBytes:     rapid.SampledFrom([]int{1, 2000, 0}).Draw(t, "InlineBytes"),
			CheckpointBytes: rapid.SampledFrom([]int64{20 << 10, 0}).Draw(t, "CheckpointBytes"),
			CacheBytes:      rapid.SampledFrom([]int64{1, 0}).Draw(t, "CacheBytes"),
		}}
		r.open()
		r.requests.init(r.m)
		defer func() { r.m.Close() }()
		r.prepare(t)
		t.Repeat(map[string]func(*rapid.T){
			"begin": r.begin, "change": r.change, "change more": r.change, "read": r.read,
			"commit": r.commit, "rollback": r.rollback, "race": r.race, "race more": r.race,
			"savepoint": r.savepoint, "roll back to": r.rollbackTo,
			"tip": r.tip, "more of tips": r.tip, "race of tips": r.tipRace, "carry": r.carry,
			"checkpoint": r.checkpoint, "reopen": r.reopen, "look at all": r.lookAtAll, "retry": r.retry,
		})
		r.reopen(t)
		r.lookAtAll(t)
		r.retry(t)
		if err := r.m.Close(); err != nil {
			t.Fatal(err)
		}
		verify(t, dir)
	})
}

func verify(t *rapid.T, dir string) {
	rep, err := recovery.Verify(context.Background(), vfs.OS(), dir, recovery.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range rep.Problems {
		t.Errorf("verify: %v", p)
	}
}

type run struct {
	t    *rapid.T
	dir  string
	opts txn.Options
	m    *txn.Manager
	now  State // committed
	lsn  wal.LSN
	txs  []*tx
	tags uint64

	requests requests
}

// tx is a transaction on both sides.
type tx struct {
	real  *txn.Tx
	opts  txn.TxOptions
	state State // its snapshot and its own changes
	since wal.LSN
	log   []done
	saved []saved
}

// done is a call, and what it gave.
type done struct {
	op     op
	result string
	idle   bool // it changes nothing, whatever else was committed
}

type saved struct {
	real  txn.Savepoint
	state State
	log   int // calls before it
}

func (r *run) open() {
	m, _, err := txn.Open(r.dir, r.opts)
	if err != nil {
		r.t.Fatal(err)
	}
	r.m = m
	lsn := m.Stats().Published
	if r.lsn != 0 && lsn != r.lsn {
		r.t.Fatalf("opened at LSN %d, the last commit was %d", lsn, r.lsn)
	}
	r.lsn = lsn
}

func (r *run) begin(t *rapid.T) {
	if len(r.txs) == 5 {
		t.Skip()
	}
	o := txn.TxOptions{
		ReadOnly:   rapid.IntRange(0, 4).Draw(t, "read-only") == 0,
		Isolation:  txn.Isolation(rapid.IntRange(0, 3).Draw(t, "isolation") / 3),
		Durability: txn.Durability(rapid.IntRange(0, 1).Draw(t, "durability")),
	}
	r.beginWith(t, o)
}

func (r *run) beginWith(t *rapid.T, o txn.TxOptions) {
	r.requests.draw(t, &o)
	real, err := r.m.Begin(context.Background(), o)
	if !r.requests.expected(t, o, txn.Commit{}, err) {
		o.Actor, o.Seq = wal.ActorID{}, 0 // there is nothing to do, so it does something else
		real, err = r.m.Begin(context.Background(), o)
	}
	if err != nil {
		t.Fatal(err)
	}
	if real.LSN() != r.lsn {
		t.Fatalf("begun at LSN %d, the last commit was %d", real.LSN(), r.lsn)
	}
	r.txs = append(r.txs, &tx{real: real, opts: o, state: r.now.clone(), since: r.lsn})
}

// prepare makes two volumes with some pages.
func (r *run) prepare(t *rapid.T) {
	r.begin(t)
	x := r.txs[0]
	if !x.opts.ReadOnly {
		for _, n := range names[:2] {
			r.call(t, x, create(n, 512))
			for no := range uint64(6) {
				r.tags++
				r.call(t, x, write(n, no, r.tags))
			}
		}
	}
	r.end(t, x)
}

// race begins two transactions on one state, and commits one after the other.
func (r *run) race(t *rapid.T) {
	if len(r.txs) > 3 {
		t.Skip()
	}
	r.begin(t)
	r.begin(t)
	pair := slices.Clone(r.txs[len(r.txs)-2:])
	for range rapid.IntRange(2, 6).Draw(t, "calls") {
		x := pair[rapid.IntRange(0, 1).Draw(t, "which")]
		if rapid.Bool().Draw(t, "changes") {
			r.call(t, x, drawChange(t, &r.tags))
		} else {
			r.call(t, x, drawRead(t))
		}
	}
	r.end(t, pair[0])
	r.end(t, pair[1])
}

func (r *run) pick(t *rapid.T) *tx {
	if len(r.txs) == 0 {
		r.begin(t)
	}
	return r.txs[rapid.IntRange(0, len(r.txs)-1).Draw(t, "transaction")]
}

func (r *run) forget(x *tx) {
	r.txs = slices.DeleteFunc(r.txs, func(y *tx) bool { return x == y })
}

func (r *run) change(t *rapid.T) { r.call(t, r.pick(t), drawChange(t, &r.tags)) }
func (r *run) read(t *rapid.T)   { r.call(t, r.pick(t), drawRead(t)) }

// call makes a call on both sides.
func (r *run) call(t *rapid.T, x *tx, o op) {
	idle := !o.write || o.idle != nil && o.idle(x.state)
	want := o.model(x.state, x.opts.ReadOnly)
	got := o.real(x.real)
	if got != want {
		t.Fatalf("%s\n  gives %s\n  want  %s", o.name, got, want)
	}
	x.log = append(x.log, done{o, want, idle || want != "ok"})
}

func (r *run) commit(t *rapid.T) { r.end(t, r.pick(t)) }

// end commits, and does everything again on the newest state: the serial order
// is that of commits.
func (r *run) end(t *rapid.T, x *tx) {
	r.forget(x)
	c, err := x.real.Commit(context.Background())
	if !r.requests.expected(t, x.opts, c, err) {
		return
	}
	switch {
	case errors.Is(err, txn.ErrConflict):
		if x.opts.ReadOnly || x.since == r.lsn {
			t.Fatalf("nothing was committed since it began: %v", err)
		}
		var typed *txn.ConflictError
		if !errors.As(err, &typed) || typed.Name == "" {
			t.Fatalf("%v names nothing", err)
		}
		return
	case err != nil:
		t.Fatal(err)
	case c.Empty:
		if c.Position.LSN != x.since {
			t.Fatalf("empty, at LSN %d, begun at %d", c.Position.LSN, x.since)
		}
		return // it is before the others, where it began
	case c.Position.LSN != r.lsn+1:
		t.Fatalf("LSN %d after %d", c.Position.LSN, r.lsn)
	}
	r.lsn = c.Position.LSN
	r.requests.committed(x.opts, c.Position)
	for _, d := range x.log {
		if x.opts.Isolation == txn.Snapshot && d.idle {
			continue
		}
		if got := d.op.model(r.now, false); got != d.result && x.opts.Isolation == txn.Serializable {
			t.Fatalf("committed, but not serializable: %s\n  gave %s\n  but in the order of commits %s", d.op.name, d.result, got)
		}
	}
}

func (r *run) rollback(t *rapid.T) {
	x := r.pick(t)
	x.real.Rollback()
	r.forget(x)
}

func (r *run) savepoint(t *rapid.T) {
	x := r.pick(t)
	if x.opts.ReadOnly {
		return
	}
	sp, err := x.real.Savepoint()
	if err != nil {
		t.Fatal(err)
	}
	x.saved = append(x.saved, saved{sp, x.state.clone(), len(x.log)})
}

func (r *run) rollbackTo(t *rapid.T) {
	x := r.pick(t)
	if len(x.saved) == 0 {
		return
	}
	i := rapid.IntRange(0, len(x.saved)-1).Draw(t, "savepoint")
	sp := x.saved[i]
	if err := x.real.RollbackTo(sp.real); err != nil {
		t.Fatal(err)
	}
	x.saved, x.state, x.log = x.saved[:i+1], sp.state.clone(), x.log[:sp.log:sp.log]
}

func (r *run) checkpoint(t *rapid.T) {
	if err := r.m.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func (r *run) reopen(t *rapid.T) {
	if err := r.m.Close(); err != nil {
		t.Fatal(err)
	}
	r.txs = nil
	r.open()
}

// lookAtAll compares everything, in a transaction that has just begun and in
// all that are open.
func (r *run) lookAtAll(t *rapid.T) {
	err := r.m.View(context.Background(), func(real *txn.Tx) error {
		if real.LSN() != r.lsn {
			t.Errorf("LSN %d, want %d", real.LSN(), r.lsn)
		}
		r.compare(t, real, r.now)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range r.txs {
		if x.opts.ReadOnly {
			r.compare(t, x.real, x.state)
		}
	}
}

func (r *run) compare(t *rapid.T, real *txn.Tx, want State) {
	for _, name := range names {
		o := readAll(name)
		for _, o := range []op{o, listTags(name), readTag(place{name, "x"}), readTag(place{name, "y"})} {
			if got, want := o.real(real), o.model(want, false); got != want {
				t.Fatalf("%s at LSN %d\n  is   %s\n  want %s", o.name, real.LSN(), got, want)
			}
		}
	}
}

// op is one call, on either side; both say what it gave in the same words.
type op struct {
	name  string
	write bool
	real  func(*txn.Tx) string
	model func(s State, readOnly bool) string
	idle  func(State) bool // of a change that may do nothing; nil if not
}

var names = []string{"a", "b", "c"}

func name(t *rapid.T, label string) string { return rapid.SampledFrom(names).Draw(t, label) }

// pageNo draws small numbers, and some that need a deep tree.
func pageNo(t *rapid.T, label string) uint64 {
	no := rapid.Uint64Range(0, 12).Draw(t, label)
	return no + rapid.SampledFrom([]uint64{0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 5000, 1 << 30}).Draw(t, label+" from")
}

// word is what an error is called on both sides.
func word(err error) string {
	for w, e := range map[string]error{
		"read-only": txn.ErrReadOnly, "none": txn.ErrNoVolume, "exists": txn.ErrVolumeExists, "range": txn.ErrPageRange,
		"no tag": txn.ErrNoTag, "page size": txn.ErrPageSize, "incomparable": txn.ErrIncomparable,
	} {
		if errors.Is(err, e) {
			return w
		}
	}
	if err != nil {
		return err.Error()
	}
	return "ok"
}

// on makes an op on an existing volume.
func on(n, what string, write bool, real func(*txn.Volume) (string, error), model func(*Volume) string) op {
	return op{
		name: n + ": " + what, write: write,
		real: func(x *txn.Tx) string {
			v, err := x.Volume(n)
			if err != nil {
				return word(err)
			}
			s, err := real(v)
			return s + word(err)
		},
		model: func(s State, readOnly bool) string {
			switch v := s[n]; {
			case v == nil:
				return "none"
			case write && readOnly:
				return "read-only"
			default:
				return model(v)
			}
		},
	}
}

func drawChange(t *rapid.T, tags *uint64) op {
	n := name(t, "volume")
	*tags++
	tag := *tags
	switch rapid.IntRange(0, 19).Draw(t, "change") {
	case 0:
		size := rapid.SampledFrom([]int{512, 512, 4096, 65536}).Draw(t, "page size")
		return create(n, size)
	case 1:
		return rename(n, name(t, "to"))
	case 2:
		return remove(n)
	case 3, 4, 5:
		pages := pageNo(t, "pages")
		return on(n, fmt.Sprintf("truncate to %d", pages), true,
			func(v *txn.Volume) (string, error) { return "", v.Truncate(pages) },
			func(v *Volume) string { v.truncate(pages); return "ok" })
	case 6, 7, 8, 9:
		no := pageNo(t, "page")
		o := on(n, fmt.Sprintf("discard %d", no), true,
			func(v *txn.Volume) (string, error) { return "", v.DiscardPage(no) },
			func(v *Volume) string { delete(v.Pages, no); return "ok" })
		o.idle = func(s State) bool { return s[n] == nil || no >= s[n].Size }
		return o
	case 10, 11:
		off := int64(pageNo(t, "at")%200)*512 + int64(rapid.IntRange(0, 511).Draw(t, "byte"))
		data := bytes.Repeat([]byte{byte(tag), byte(tag >> 8)}, rapid.IntRange(0, 800).Draw(t, "words"))
		return on(n, fmt.Sprintf("WriteAt %d+%d", off, len(data)), true,
			func(v *txn.Volume) (string, error) { _, err := v.WriteAt(data, off); return "", err },
			func(v *Volume) string { v.writeAt(data, off); return "ok" })
	default:
		no := pageNo(t, "page")
		if rapid.IntRange(0, 9).Draw(t, "zeros") == 0 {
			tag = 0
		}
		return write(n, no, tag)
	}
}

// write writes a page with a content of its own; tag 0 is zeros.
func write(n string, no, tag uint64) op {
	fill := func(size int) []byte {
		p := make([]byte, size)
		for i := range p {
			p[i] = byte(tag >> (8 * (i % 3)))
		}
		return p
	}
	return on(n, fmt.Sprintf("write %d", no), true,
		func(v *txn.Volume) (string, error) { return "", v.WritePage(no, fill(v.PageSize())) },
		func(v *Volume) string { v.write(no, fill(v.PageSize)); return "ok" })
}

func create(n string, size int) op {
	return op{name: "create " + n, write: true,
		real: func(x *txn.Tx) string {
			_, err := x.CreateVolume(n, txn.VolumeOptions{PageSize: uint32(size)})
			return word(err)
		},
		model: func(s State, readOnly bool) string {
			switch {
			case readOnly:
				return "read-only"
			case s[n] != nil:
				return "exists"
			}
			s[n] = &Volume{PageSize: size, Pages: map[uint64][]byte{}}
			return "ok"
		}}
}

func rename(from, to string) op {
	return op{name: "rename " + from + " to " + to, write: true,
		real: func(x *txn.Tx) string { return word(x.RenameVolume(from, to)) },
		model: func(s State, readOnly bool) string {
			switch {
			case readOnly:
				return "read-only"
			case s[from] == nil:
				return "none"
			case from == to:
				return "ok"
			case s[to] != nil:
				return "exists"
			}
			s[to] = s[from]
			delete(s, from)
			return "ok"
		}}
}

func remove(n string) op {
	return op{name: "delete " + n, write: true,
		real: func(x *txn.Tx) string { return word(x.DeleteVolume(n)) },
		model: func(s State, readOnly bool) string {
			switch {
			case readOnly:
				return "read-only"
			case s[n] == nil:
				return "none"
			}
			delete(s, n)
			return "ok"
		}}
}

func drawRead(t *rapid.T) op {
	n := name(t, "volume")
	switch rapid.IntRange(0, 8).Draw(t, "read") {
	case 7:
		return readTag(drawPlace(t, "tag"))
	case 8:
		return listTags(n)
	case 0:
		return on(n, "size", false,
			func(v *txn.Volume) (string, error) { size, err := v.Size(); return fmt.Sprint(size, " "), err },
			func(v *Volume) string { return fmt.Sprint(v.Size, " ok") })
	case 1:
		from := pageNo(t, "from")
		to := from + rapid.SampledFrom([]uint64{0, 1, 10, 1 << 40}).Draw(t, "pages")
		return iterate(n, from, to)
	case 2:
		off := int64(pageNo(t, "at")%200)*512 + int64(rapid.IntRange(0, 511).Draw(t, "byte"))
		length := rapid.IntRange(0, 3000).Draw(t, "bytes")
		return on(n, fmt.Sprintf("ReadAt %d+%d", off, length), false,
			func(v *txn.Volume) (string, error) {
				p := make([]byte, length)
				k, err := v.ReadAt(p, off)
				return fmt.Sprint(sum(p[:k]), k, err == io.EOF), notEOF(err)
			},
			func(v *Volume) string {
				p, err := v.readAt(length, off)
				return fmt.Sprint(sum(p), len(p), err == io.EOF) + "ok"
			})
	default:
		no := pageNo(t, "page")
		return on(n, fmt.Sprintf("read %d", no), false,
			func(v *txn.Volume) (string, error) {
				p := make([]byte, v.PageSize())
				if err := v.ReadPage(no, p); err != nil {
					return "", err
				}
				return sum(p), nil
			},
			func(v *Volume) string {
				if no >= v.Size {
					return "range"
				}
				return sum(v.page(no)) + "ok"
			})
	}
}

func notEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

func readAll(n string) op { return iterate(n, 0, wal.MaxPages) }

// iterate reads size, page size and the pages of a range.
func iterate(n string, from, to uint64) op {
	return on(n, fmt.Sprintf("pages from %d to %d", from, to), false,
		func(v *txn.Volume) (string, error) {
			return digestOf(v, from, to)
		},
		func(v *Volume) string {
			part := v.copied()
			maps.DeleteFunc(part.Pages, func(no uint64, _ []byte) bool { return no < from || no >= to })
			return part.digest() + "ok"
		})
}

// digestOf is the digest of what the engine has.
func digestOf(v *txn.Volume, from, to uint64) (string, error) {
	got := &Volume{PageSize: v.PageSize(), Pages: map[uint64][]byte{}}
	var err error
	if got.Size, err = v.Size(); err != nil {
		return "", err
	}
	last := int64(-1)
	for p, err := range v.Pages(from, to) {
		if err != nil {
			return "", err
		}
		if int64(p.No) <= last {
			return "", fmt.Errorf("page %d after %d", p.No, last)
		}
		last = int64(p.No)
		got.Pages[p.No] = bytes.Clone(p.Data)
	}
	return got.digest(), nil
}
