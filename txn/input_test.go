package txn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// Every bad call gets its error, and the transaction in which it was made goes
// on: its good write is there afterwards, and nothing else.
func TestBadCalls(t *testing.T) {
	page := pageOf(7)
	long := strings.Repeat("n", wal.MaxNameBytes+1)
	write := func(no uint64, p []byte) func(*txn.Tx, *txn.Volume) error {
		return func(_ *txn.Tx, v *txn.Volume) error { return v.WritePage(no, p) }
	}
	read := func(no uint64, p []byte) func(*txn.Tx, *txn.Volume) error {
		return func(_ *txn.Tx, v *txn.Volume) error { return v.ReadPage(no, p) }
	}
	create := func(name string, size uint32) func(*txn.Tx, *txn.Volume) error {
		return func(tx *txn.Tx, _ *txn.Volume) error {
			_, err := tx.CreateVolume(name, txn.VolumeOptions{PageSize: size})
			return err
		}
	}
	open := func(name string) func(*txn.Tx, *txn.Volume) error {
		return func(tx *txn.Tx, _ *txn.Volume) error { _, err := tx.Volume(name); return err }
	}
	errAny := errors.New("any error")
	cases := []struct {
		name string
		call func(*txn.Tx, *txn.Volume) error
		want error
	}{
		{"write a short page", write(0, page[:4095]), txn.ErrPageSize},
		{"write a long page", write(0, append(page, 0)), txn.ErrPageSize},
		{"write nothing", write(0, nil), txn.ErrPageSize},
		{"write beyond the limit", write(wal.MaxPages, page), txn.ErrPageRange},
		{"write far beyond the limit", write(math.MaxUint64, page), txn.ErrPageRange},
		{"read into a short buffer", read(0, page[:512]), txn.ErrPageSize},
		{"read into nothing", read(0, nil), txn.ErrPageSize},
		{"read at the end", read(4, make([]byte, 4096)), txn.ErrPageRange},
		{"read far beyond the end", read(math.MaxUint64, make([]byte, 4096)), txn.ErrPageRange},
		{"truncate beyond the limit", func(_ *txn.Tx, v *txn.Volume) error { return v.Truncate(wal.MaxPages + 1) }, txn.ErrPageRange},
		{"truncate far beyond the limit", func(_ *txn.Tx, v *txn.Volume) error { return v.Truncate(math.MaxUint64) }, txn.ErrPageRange},
		{"ReadAt a negative offset", func(_ *txn.Tx, v *txn.Volume) error { _, err := v.ReadAt(page, -1); return err }, txn.ErrPageRange},
		{"ReadAt the last offset", func(_ *txn.Tx, v *txn.Volume) error { _, err := v.ReadAt(page, math.MaxInt64); return err }, io.EOF},
		{"WriteAt a negative offset", func(_ *txn.Tx, v *txn.Volume) error { _, err := v.WriteAt(page, math.MinInt64); return err }, txn.ErrPageRange},
		{"WriteAt the last offset", func(_ *txn.Tx, v *txn.Volume) error { _, err := v.WriteAt(page, math.MaxInt64); return err }, txn.ErrPageRange},
		{"open an unknown volume", open("nobody"), txn.ErrNoVolume},
		{"open a volume without a name", open(""), txn.ErrNoVolume},
		{"open an endless name", open(strings.Repeat("x", 1<<20)), txn.ErrNoVolume},
		{"open a name that is not UTF-8", open("\xff\x00"), txn.ErrNoVolume},
		{"create what exists", create("v", 0), txn.ErrVolumeExists},
		{"create with pages of 1 byte", create("w", 1), txn.ErrPageSize},
		{"create with pages of 4095 bytes", create("w", 4095), txn.ErrPageSize},
		{"create with pages of 256 bytes", create("w", 256), txn.ErrPageSize},
		{"create with pages of 128 KiB", create("w", 128<<10), txn.ErrPageSize},
		{"create with pages of 4 GiB", create("w", math.MaxUint32), txn.ErrPageSize},
		{"create without a name", create("", 0), errAny},
		{"create with an endless name", create(long, 0), errAny},
		{"create with a name that is not UTF-8", create("a\xff", 0), errAny},
		{"create with a zero byte", create("a\x00b", 0), errAny},
		{"create with a line feed", create("a\nb", 0), errAny},
		{"create with a space in front", create(" a", 0), errAny},
		{"create with a space behind", create("a\u00a0", 0), errAny},
		{"rename to nothing", func(tx *txn.Tx, _ *txn.Volume) error { return tx.RenameVolume("v", "") }, errAny},
		{"rename to an endless name", func(tx *txn.Tx, _ *txn.Volume) error { return tx.RenameVolume("v", long) }, errAny},
		{"rename to what exists", func(tx *txn.Tx, _ *txn.Volume) error { return tx.RenameVolume("v", "other") }, txn.ErrVolumeExists},
		{"rename an unknown volume", func(tx *txn.Tx, _ *txn.Volume) error { return tx.RenameVolume("nobody", "x") }, txn.ErrNoVolume},
		{"delete an unknown volume", func(tx *txn.Tx, _ *txn.Volume) error { return tx.DeleteVolume("nobody") }, txn.ErrNoVolume},
		{"delete a name", func(tx *txn.Tx, _ *txn.Volume) error { return tx.DeleteVolume("") }, txn.ErrNoVolume},
		{"roll back to nothing", func(tx *txn.Tx, _ *txn.Volume) error { return tx.RollbackTo(txn.Savepoint{}) }, txn.ErrSavepoint},
	}
	r := newRig(t, txn.Options{})
	r.volume("v", 4)
	r.volume("other", 1)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r.update(func(tx *txn.Tx) error {
				v, err := tx.Volume("v")
				if err != nil {
					return err
				}
				if err := v.WritePage(1, pageOf(uint64(100+i))); err != nil {
					return err
				}
				if err := c.call(tx, v); err == nil || c.want != errAny && !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				} else if len(err.Error()) > 400 {
					t.Errorf("the error is %d bytes long", len(err.Error()))
				}
				return nil
			})
			if got := r.get("v", 1); got != uint64(100+i) {
				t.Errorf("the good write is lost: %d", got)
			}
		})
	}
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
	for no, want := range []uint64{1, uint64(100 + len(cases) - 1), 3, 4} {
		if got := r.get("v", uint64(no)); got != want {
			t.Errorf("page %d is %d, want %d", no, got, want)
		}
	}
}

// Names that look like something else are names.
func TestHostileNames(t *testing.T) {
	names := []string{
		"../../etc/passwd", "/", ".", "..", "CON", "a b", "%s%n", "-rf", "LOCK", "\u202eabc", "e\u0301", "\u00e9",
		"\U0001f4d6", strings.Repeat("n", wal.MaxNameBytes), "'; DROP TABLE volumes", "\ufffd",
	}
	r := newRig(t, txn.Options{})
	for i, name := range names {
		r.volume(name, 1)
		r.put(name, 0, uint64(1000+i))
	}
	for range 2 {
		for i, name := range names {
			if got := r.get(name, 0); got != uint64(1000+i) {
				t.Errorf("%q holds %d", name, got)
			}
		}
		if err := r.Checkpoint(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := r.reopen(); err != nil {
			t.Fatal(err)
		}
	}
}

// The largest page number works, and an empty call does nothing.
func TestLimits(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.update(func(tx *txn.Tx) error {
		v, err := tx.CreateVolume("v", txn.VolumeOptions{})
		if err != nil {
			return err
		}
		n, err := v.WriteAt(nil, 1<<40)
		if size, _ := v.Size(); n != 0 || err != nil || size != 0 {
			t.Errorf("empty WriteAt: %d, %v, size %d", n, err, size)
		}
		if n, err := v.ReadAt(nil, 0); n != 0 || err != nil {
			t.Errorf("empty ReadAt: %d, %v", n, err)
		}
		return errors.Join(v.WritePage(wal.MaxPages-1, pageOf(5)), v.Truncate(wal.MaxPages), v.WritePage(0, pageOf(6)))
	})
	for range 2 {
		err := r.View(context.Background(), func(tx *txn.Tx) error {
			v, err := tx.Volume("v")
			if err != nil {
				return err
			}
			if size, err := v.Size(); size != wal.MaxPages || err != nil {
				t.Errorf("size %d, %v", size, err)
			}
			for _, c := range []struct {
				from, to uint64
				want     []uint64
			}{
				{0, math.MaxUint64, []uint64{0, wal.MaxPages - 1}}, {1, wal.MaxPages, []uint64{wal.MaxPages - 1}},
				{5, 3, nil}, {math.MaxUint64, 0, nil}, {0, 0, nil}, {wal.MaxPages, math.MaxUint64, nil},
			} {
				var got []uint64
				for p, err := range v.Pages(c.from, c.to) {
					if err != nil {
						return err
					}
					got = append(got, p.No)
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("pages from %d to %d: %v, want %v", c.from, c.to, got, c.want)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.Checkpoint(context.Background()), r.reopen()); err != nil {
			t.Fatal(err)
		}
	}
}

// What is too large for one transaction is refused whole, and the manager
// goes on.
func TestTooLarge(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{MaxTxBytes: 1 << 20})
	r.volume("v", 1)
	r.volume("w", 1)
	big := strings.Repeat("m", wal.MaxExtensionBytes+1)
	for _, o := range []txn.TxOptions{{Message: big}, {Metadata: []byte(big)}} {
		if _, err := r.Begin(ctx, o); !errors.Is(err, wal.ErrTooLarge) {
			t.Errorf("begin: %v", err)
		}
	}
	for _, names := range [][]string{{"v"}, {"v", "w"}} {
		tx := r.begin(txn.TxOptions{})
		var err error
		n := 0
		for ; err == nil && n < 1<<20; n++ {
			err = put(tx, names[n%len(names)], uint64(n+1), 1)
		}
		if !errors.Is(err, wal.ErrTooLarge) {
			t.Errorf("staging into %v: %v", names, err)
		}
		if n-1 != 256 {
			t.Errorf("%d pages of 4 KiB were staged into %v, MaxTxBytes is 1 MiB", n-1, names)
		}
		tx.Rollback()
	}
	r.put("v", 0, 9)
	if r.get("v", 0) != 9 || r.Stats().Poisoned != "" {
		t.Error("the manager does not go on:", r.Stats().Poisoned)
	}
}

// A transaction is one record: what does not fit is refused by Commit, which
// says what the limits are and what to do. As many volumes as it says fit.
func TestTooManyVolumes(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	touch := func(n int) func(*txn.Tx) error {
		return func(tx *txn.Tx) error {
			for i := range n {
				if err := put(tx, fmt.Sprint(i), 0, 5); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for i := range 6 { // commit in parts
		r.update(func(tx *txn.Tx) error {
			for j := range 1000 {
				if _, err := tx.CreateVolume(fmt.Sprint(1000*i+j), txn.VolumeOptions{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	before := r.Stats()
	tx := r.begin(txn.TxOptions{})
	if err := touch(6000)(tx); err != nil {
		t.Fatal(err)
	}
	_, err := tx.Commit(ctx)
	r.tooLarge(err, before)
	if _, err := tx.Commit(ctx); !errors.Is(err, txn.ErrTxDone) {
		t.Errorf("commit again: %v", err)
	}
	r.update(touch(4900))
	r.put("v", 0, 9)
}

// tooLarge checks the error of a record that does not fit, and that nothing is
// left of its transaction.
func (r *rig) tooLarge(err error, before txn.Stats) {
	r.t.Helper()
	if !errors.Is(err, wal.ErrTooLarge) || errors.Is(err, txn.ErrConflict) {
		r.t.Fatalf("commit: %v", err)
	}
	for _, says := range []string{"at most 1048576 bytes", "4900 volumes", "60000 runs", "commit in parts"} {
		if !strings.Contains(err.Error(), says) {
			r.t.Errorf("it does not say %q: %v", says, err)
		}
	}
	s := r.Stats()
	if s.Poisoned != "" || s.OpenTxs != 0 || s.StagedBytes != 0 || s.Published != before.Published || s.Pages.Heap.Used > before.Pages.Heap.Used {
		r.t.Errorf("left behind: %+v, before %+v", s, before)
	}
}

// More runs of discarded pages than an entry may have are refused.
func TestTooManyDiscards(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 64 MiB")
	}
	ctx := context.Background()
	r := newRig(t, txn.Options{})
	page := make([]byte, 512)
	page[0] = 1
	const pages = 2*wal.MaxDiscards + 4
	r.update(func(tx *txn.Tx) error {
		v, err := tx.CreateVolume("v", txn.VolumeOptions{PageSize: 512})
		for no := uint64(0); no < pages && err == nil; no++ {
			err = v.WritePage(no, page)
		}
		return err
	})
	discard := func(runs uint64) func(*txn.Tx) error {
		return func(tx *txn.Tx) error {
			v, err := tx.Volume("v")
			for i := uint64(0); i < runs && err == nil; i++ {
				err = v.DiscardPage(2 * i)
			}
			return err
		}
	}
	before := r.Stats()
	_, err := r.Update(ctx, discard(pages/2))
	r.tooLarge(err, before)
	r.update(discard(60_000))
}

// A message that is no text is refused, or kept; it does not harm.
func TestHostileMessage(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	for _, o := range []txn.TxOptions{
		{Message: "\xff\xfe"}, {Message: "a\x00\x1b[2J"}, {Message: strings.Repeat("m", wal.MaxExtensionBytes)},
		{Metadata: make([]byte, wal.MaxExtensionBytes), Message: strings.Repeat("m", wal.MaxExtensionBytes)},
	} {
		_, err := r.UpdateWith(context.Background(), o, func(tx *txn.Tx) error { return put(tx, "v", 0, 2) })
		t.Logf("%.10q: %v", o.Message, err)
		if s := r.Stats(); s.Poisoned != "" {
			t.Fatalf("message %.10q: %s", o.Message, s.Poisoned)
		}
	}
	r.put("v", 0, 3)
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
}

func TestReadOnly(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 2)
	tx := r.begin(txn.TxOptions{ReadOnly: true})
	v, err := tx.Volume("v")
	if err != nil {
		t.Fatal(err)
	}
	_, create := tx.CreateVolume("w", txn.VolumeOptions{})
	_, savepoint := tx.Savepoint()
	_, writeAt := v.WriteAt([]byte{1}, 0)
	for name, err := range map[string]error{
		"create": create, "savepoint": savepoint, "WriteAt": writeAt,
		"write": v.WritePage(0, pageOf(1)), "discard": v.DiscardPage(0), "truncate": v.Truncate(0),
		"rename": tx.RenameVolume("v", "w"), "delete": tx.DeleteVolume("v"), "roll back to": tx.RollbackTo(txn.Savepoint{}),
	} {
		if !errors.Is(err, txn.ErrReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := get(tx, "v", 1); got != 2 || err != nil {
		t.Errorf("read: %d, %v", got, err)
	}
	if c, err := tx.Commit(context.Background()); err != nil || !c.Empty || c.Position.LSN != tx.LSN() {
		t.Errorf("commit: %+v, %v", c, err)
	}
}

// A transaction that has ended, in whatever way, does nothing any more.
func TestUseAfterEnd(t *testing.T) {
	ctx := context.Background()
	for name, end := range map[string]func(*rig, *txn.Tx) error{
		"commit":   func(_ *rig, tx *txn.Tx) error { _, err := tx.Commit(ctx); return err },
		"rollback": func(_ *rig, tx *txn.Tx) error { tx.Rollback(); return nil },
		"close":    func(r *rig, _ *txn.Tx) error { return r.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			want := txn.ErrTxDone
			if name == "close" {
				want = txn.ErrClosed
			}
			r := newRig(t, txn.Options{})
			r.volume("v", 2)
			tx := r.begin(txn.TxOptions{})
			v, err := tx.Volume("v")
			if err != nil {
				t.Fatal(err)
			}
			sp, err := tx.Savepoint()
			if err != nil {
				t.Fatal(err)
			}
			if err := v.WritePage(0, pageOf(5)); err != nil {
				t.Fatal(err)
			}
			if err := end(r, tx); err != nil {
				t.Fatal(err)
			}
			for call, err := range allCalls(tx, v, sp) {
				if !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", call, err, want)
				}
			}
			tx.Rollback()
			if name != "close" {
				r.put("v", 1, 8)
			}
		})
	}
}

// allCalls makes every call of a transaction.
func allCalls(tx *txn.Tx, v *txn.Volume, sp txn.Savepoint) map[string]error {
	buf := make([]byte, 4096)
	_, volume := tx.Volume("v")
	_, create := tx.CreateVolume("new", txn.VolumeOptions{})
	_, savepoint := tx.Savepoint()
	_, size := v.Size()
	_, readAt := v.ReadAt(buf[:1], 0)
	_, writeAt := v.WriteAt(buf[:1], 0)
	var pages error
	for _, err := range v.Pages(0, 10) {
		pages = err
	}
	_, commit := tx.Commit(context.Background())
	return map[string]error{
		"volume": volume, "create": create, "savepoint": savepoint, "size": size, "ReadAt": readAt, "WriteAt": writeAt,
		"pages": pages, "commit": commit, "read": v.ReadPage(0, buf), "write": v.WritePage(0, buf),
		"discard": v.DiscardPage(0), "truncate": v.Truncate(1), "rename": tx.RenameVolume("v", "w"),
		"delete": tx.DeleteVolume("v"), "roll back to": tx.RollbackTo(sp),
	}
}

// What a savepoint undid cannot be used any more, and a volume deleted in the
// transaction neither.
func TestUseOfGoneVolumes(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 2)
	r.volume("w", 2)
	r.update(func(tx *txn.Tx) error {
		sp, err := tx.Savepoint()
		if err != nil {
			return err
		}
		undone, err := tx.CreateVolume("new", txn.VolumeOptions{})
		if err != nil {
			return err
		}
		later, err := tx.Savepoint()
		if err != nil {
			return err
		}
		if err := errors.Join(undone.WritePage(0, pageOf(1)), tx.RollbackTo(sp)); err != nil {
			return err
		}
		if err := undone.WritePage(0, pageOf(1)); !errors.Is(err, txn.ErrVolumeGone) {
			t.Errorf("write to a volume whose creation was rolled back: %v", err)
		}
		if err := tx.RollbackTo(later); !errors.Is(err, txn.ErrSavepoint) {
			t.Errorf("roll back to a savepoint that is gone: %v", err)
		}
		w, err := tx.Volume("w")
		if err != nil {
			return err
		}
		if err := errors.Join(w.WritePage(1, pageOf(3)), tx.DeleteVolume("w")); err != nil {
			return err
		}
		for call, err := range map[string]error{
			"write": w.WritePage(0, pageOf(1)), "read": w.ReadPage(0, pageOf(1)), "truncate": w.Truncate(1), "discard": w.DiscardPage(0),
		} {
			if !errors.Is(err, txn.ErrVolumeGone) {
				t.Errorf("%s of a deleted volume: %v", call, err)
			}
		}
		if _, err := tx.Volume("w"); !errors.Is(err, txn.ErrNoVolume) {
			t.Errorf("open a deleted volume: %v", err)
		}
		return put(tx, "v", 0, 77)
	})
	other := r.begin(txn.TxOptions{})
	sp, err := other.Savepoint()
	if err != nil {
		t.Fatal(err)
	}
	r.update(func(tx *txn.Tx) error {
		if err := tx.RollbackTo(sp); !errors.Is(err, txn.ErrSavepoint) {
			t.Errorf("roll back to another transaction's savepoint: %v", err)
		}
		return put(tx, "v", 1, 78)
	})
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
	if r.get("v", 0) != 77 || r.get("v", 1) != 78 {
		t.Error("the good writes are lost")
	}
	err = r.View(context.Background(), func(tx *txn.Tx) error { _, err := tx.Volume("new"); return err })
	if !errors.Is(err, txn.ErrNoVolume) {
		t.Errorf("the undone volume: %v", err)
	}
}

// The second opener hears who the first one is, and does not disturb it.
func TestTwoOpeners(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	for range 2 {
		_, _, err := txn.Open(r.dir, txn.Options{Create: true})
		var locked *vfs.LockedError
		if !errors.As(err, &locked) || !strings.Contains(locked.Owner, "process ") {
			t.Fatalf("second opener: %v", err)
		}
	}
	r.put("v", 0, 4)
	if err := r.reopen(); err != nil {
		t.Fatal(err)
	}
}

// Hostile options are refused before anything is made; extreme ones work.
func TestOptions(t *testing.T) {
	bad := map[string]txn.Options{
		"CheckpointBytes": {CheckpointBytes: -1}, "ConsumerLagBytes": {ConsumerLagBytes: -1}, "GenerationBytes": {GenerationBytes: -1}, "small GenerationBytes": {GenerationBytes: 1},
		"InlineBytes": {InlineBytes: -1}, "large InlineBytes": {InlineBytes: math.MaxInt}, "CacheBytes": {CacheBytes: math.MinInt64},
		"StageBytes": {StageBytes: -1}, "MaxTxBytes": {MaxTxBytes: -1}, "TxTimeout": {TxTimeout: -1}, "SyncEvery": {SyncEvery: -1},
		"large GenerationBytes": {GenerationBytes: math.MaxInt64},
	}
	for name, o := range bad {
		t.Run(name, func(t *testing.T) {
			o.Create = true
			dir := filepath.Join(t.TempDir(), "store")
			if m, _, err := txn.Open(dir, o); err == nil {
				m.Close()
				t.Fatal("accepted")
			}
			if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something was made: %v", err)
			}
			m, _, err := txn.Open(dir, txn.Options{Create: true})
			if err != nil {
				t.Fatal(err)
			}
			m.Close()
		})
	}
	extreme := map[string]txn.Options{
		"small": {CheckpointBytes: 1, CheckpointEvery: 1, GenerationBytes: wal.MinGenerationBytes, InlineBytes: 1, CacheBytes: 1, StageBytes: 1, SyncEvery: 1},
		"large": {CheckpointBytes: math.MaxInt64, CheckpointEvery: math.MaxInt64, CacheBytes: math.MaxInt64, StageBytes: math.MaxInt64,
			MaxTxBytes: math.MaxInt64, TxTimeout: math.MaxInt64, SyncEvery: math.MaxInt64, InlineBytes: 512 << 10},
	}
	for name, o := range extreme {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, o)
			r.volume("v", 20)
			for i := range uint64(20) {
				r.put("v", i, 100+i)
			}
			if err := r.reopen(); err != nil {
				t.Fatal(err)
			}
			for i := range uint64(20) {
				if got := r.get("v", i); got != 100+i {
					t.Errorf("page %d is %d", i, got)
				}
			}
		})
	}
}

func TestTxOptions(t *testing.T) {
	r := newRig(t, txn.Options{})
	r.volume("v", 1)
	for name, o := range map[string]txn.TxOptions{
		"Isolation": {Isolation: 7}, "Durability": {Durability: 9}, "Timeout": {Timeout: -time.Second},
	} {
		if _, err := r.Begin(context.Background(), o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	tx := r.begin(txn.TxOptions{Timeout: math.MaxInt64})
	if err := put(tx, "v", 0, 5); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// A directory without a store, or none at all, is no store.
func TestNoStore(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir  string
		want error
	}{
		"missing": {filepath.Join(dir, "missing"), fs.ErrNotExist}, "empty": {t.TempDir(), fs.ErrNotExist}, "a file": {file, nil}, "no name": {"", nil},
	} {
		_, _, err := txn.Open(c.dir, txn.Options{})
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
