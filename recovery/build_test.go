package recovery_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// oracle is what a store must hold: by volume name.
type oracle map[string]*oracleVolume

type oracleVolume struct {
	pageSize int
	size     uint64            // pages
	pages    map[uint64][]byte // present
	tags     oracle            // what they point to, by name
}

func (o oracle) clone() oracle {
	c := oracle{}
	for name, v := range o {
		c[name] = v.clone()
		c[name].tags = maps.Clone(v.tags)
	}
	return c
}

// clone is the content, without tags.
func (v *oracleVolume) clone() *oracleVolume {
	return &oracleVolume{pageSize: v.pageSize, size: v.size, pages: maps.Clone(v.pages)}
}

// builder makes a store through package txn and keeps the oracle.
type builder struct {
	t   *testing.T
	m   *txn.Manager
	rng *rand.Rand
	now oracle
	at  map[wal.LSN]oracle // after each entry behind the last checkpoint

	ever map[wal.LSN]oracle // after each entry
}

func build(t *testing.T, seed uint64, o txn.Options) (string, *builder) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	o.Create, o.StageBytes, o.GenerationBytes = true, 128<<10, wal.MinGenerationBytes
	m, _, err := txn.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return dir, &builder{t: t, m: m, rng: rand.New(rand.NewPCG(seed, 1)), now: oracle{}, at: map[wal.LSN]oracle{}, ever: map[wal.LSN]oracle{}}
}

func (b *builder) update(f func(tx *txn.Tx) error) {
	b.t.Helper()
	c, err := b.m.Update(context.Background(), f)
	if err != nil {
		b.t.Fatal(err)
	}
	b.at[c.Position.LSN] = b.now.clone()
	b.ever[c.Position.LSN] = b.at[c.Position.LSN]
}

func (b *builder) create(name string, pageSize int) {
	b.t.Helper()
	b.now[name] = &oracleVolume{pageSize: pageSize, pages: map[uint64][]byte{}}
	b.update(func(tx *txn.Tx) error {
		_, err := tx.CreateVolume(name, txn.VolumeOptions{PageSize: uint32(pageSize)})
		return err
	})
}

// change does what do says to the volume, and to the oracle.
func (b *builder) change(name string, do func(v *txn.Volume, o *oracleVolume) error) {
	b.t.Helper()
	b.update(func(tx *txn.Tx) error {
		v, err := tx.Volume(name)
		if err != nil {
			return err
		}
		return do(v, b.now[name])
	})
}

// write writes n pages at random below limit.
func (b *builder) write(name string, n int, limit uint64) {
	b.t.Helper()
	b.change(name, func(v *txn.Volume, o *oracleVolume) error {
		for range n {
			no := b.rng.Uint64N(limit)
			page := make([]byte, o.pageSize)
			for i := range page {
				page[i] = byte(b.rng.Uint32())
			}
			page[0] |= 1
			o.pages[no], o.size = page, max(o.size, no+1)
			if err := v.WritePage(no, page); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *builder) discard(name string, n int) {
	b.t.Helper()
	b.change(name, func(v *txn.Volume, o *oracleVolume) error {
		for no := range o.pages {
			if n--; n < 0 {
				return nil
			}
			delete(o.pages, no)
			if err := v.DiscardPage(no); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *builder) truncate(name string, size uint64) {
	b.t.Helper()
	b.change(name, func(v *txn.Volume, o *oracleVolume) error {
		o.size = size
		maps.DeleteFunc(o.pages, func(no uint64, _ []byte) bool { return no >= size })
		return v.Truncate(size)
	})
}

func (b *builder) rename(from, to string) {
	b.now[to] = b.now[from]
	delete(b.now, from)
	b.update(func(tx *txn.Tx) error { return tx.RenameVolume(from, to) })
}

func (b *builder) delete(name string) {
	delete(b.now, name)
	b.update(func(tx *txn.Tx) error { return tx.DeleteVolume(name) })
}

// tag sets a tag of a volume to what the volume is.
func (b *builder) tag(name, tag string) {
	b.t.Helper()
	o := b.now[name]
	if o.tags == nil {
		o.tags = oracle{}
	}
	o.tags[tag] = o.clone()
	b.update(func(tx *txn.Tx) error {
		v, err := tx.Volume(name)
		if err != nil {
			return err
		}
		return tx.SetTag(v, tag, v)
	})
}

// fork makes a volume of what a tag of another points to, or of that itself.
func (b *builder) fork(name, from, tag string) {
	b.t.Helper()
	base := b.now[from]
	if tag != "" {
		base = base.tags[tag]
	}
	b.now[name] = base.clone()
	b.now[name].tags = oracle{txn.OriginTag: base.clone()}
	b.update(func(tx *txn.Tx) error {
		v, err := tx.Volume(from)
		if err == nil && tag != "" {
			v, err = tx.At(from, tag)
		}
		if err != nil {
			return err
		}
		_, err = tx.Fork(name, v)
		return err
	})
}

func (b *builder) checkpoint() {
	b.t.Helper()
	if err := b.m.Checkpoint(context.Background()); err != nil {
		b.t.Fatal(err)
	}
	clear(b.at)
}

// mixed fills the store with all that a store can hold: inline pages and pages
// in the heap from birth, staged in memory and on disk, several page sizes,
// discards, truncations, renamed and deleted volumes, tags and forks, and log
// behind the checkpoint.
func (b *builder) mixed() {
	b.t.Helper()
	b.create("tiny", 512)
	b.create("plain", 4096)
	b.create("large", 16384)
	b.create("gone", 1024)
	b.create("old name", 2048)
	for range 3 {
		b.write("tiny", 20, 5000)
		b.write("plain", 3, 300)
	}
	b.write("plain", 24, 20_000)
	b.write("large", 12, 70) // spills
	b.write("gone", 40, 100)
	b.write("old name", 5, 1)
	b.checkpoint()
	b.discard("tiny", 10)
	b.discard("plain", 5)
	b.truncate("plain", 9000)
	b.rename("old name", "new name")
	b.delete("gone")
	b.write("large", 4, 70)
	b.tag("plain", "first")
	b.fork("branch", "tiny", "")
	b.write("tiny", 5, 5000)
	b.write("branch", 5, 5000)
	b.tag("branch", "kept")
	b.write("branch", 5, 5000)
	b.checkpoint()
	b.write("tiny", 9, 6000)
	b.write("plain", 2, 12_000)
	b.write("plain", 20, 12_000) // in the heap from birth
	b.write("large", 9, 90)      // spills
	b.discard("plain", 3)
	b.truncate("tiny", 3000)
	b.fork("late branch", "plain", "first")
	b.write("late branch", 3, 9000)
	b.tag("large", "late")
	b.write("large", 1, 70)
	b.delete("branch")
	b.create("late", 8192)
	b.write("late", 2, 64)
	b.rename("new name", "newest name")
	b.write("plain", 1, 300)
}

// close closes the store cleanly.
func (b *builder) close() {
	b.t.Helper()
	if err := b.m.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// kill copies the store as a kill would leave it, some time after the last
// commit, so that a mark has been written.
func (b *builder) kill(dir string) string {
	b.t.Helper()
	killed := filepath.Join(b.t.TempDir(), "killed")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		moves := b.copyAtRest(dir, killed)
		if moves == nil {
			break
		}
		if time.Now().After(end) {
			b.t.Fatal("the store does not come to rest:", moves)
		}
	}
	b.close()
	return killed
}

// copyAtRest copies an open store, or says why that was no moment at which all is
// durable, and said to be, and nobody works at it: no file comes or goes, and the
// manifest is the same before and behind.
func (b *builder) copyAtRest(dir, to string) (moves error) {
	b.t.Helper()
	must(b.t, os.RemoveAll(to))
	if err := os.CopyFS(to, os.DirFS(dir)); errors.Is(err, fs.ErrNotExist) {
		return err
	} else if err != nil {
		b.t.Fatal(err)
	}
	found, err := recovery.Examine(vfs.OS(), to)
	if err != nil {
		return err
	}
	logs, err := wal.List(vfs.OS(), filepath.Join(to, "wal"))
	must(b.t, err)
	now, _, err := manifest.Load(vfs.OS(), dir)
	if n := len(found.Facts.Generations); err == nil && (now.Seq != found.Facts.Seq || found.Scan.Durable.LSN != found.Scan.Last || len(logs) != n) {
		err = fmt.Errorf("durable up to LSN %d of %d, manifest record %d, then %d, %d log files, %d named",
			found.Scan.Durable.LSN, found.Scan.Last, found.Facts.Seq, now.Seq, len(logs), n)
	}
	return err
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// compare reads everything of the newest state by View. It returns the first
// error, and fails the test when anything that is read is not what it must be.
func compare(t *testing.T, dir string, want oracle) error {
	t.Helper()
	v, err := recovery.View(vfs.OS(), dir, 0)
	if err != nil {
		return err
	}
	defer v.Close()
	return compareView(t, v, want)
}

func compareView(t *testing.T, v *recovery.Viewed, want oracle) (first error) {
	t.Helper()
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	seen := 0
	for vol, err := range v.Snapshot().Volumes() {
		if err != nil {
			note(err)
			break
		}
		seen++
		o := want[vol.Attrs.Name]
		if o != nil {
			note(compareTags(t, v, vol, o))
		}
		if o == nil || o.pageSize != int(vol.Attrs.PageSize) || o.size != vol.Tree.Pages() {
			t.Fatalf("volume %q of %d pages of %d bytes is not what was committed", vol.Attrs.Name, vol.Tree.Pages(), vol.Attrs.PageSize)
		}
		note(comparePages(t, vol, o))
	}
	if first == nil && seen != len(want) {
		t.Fatalf("%d volumes, want %d", seen, len(want))
	}
	return first
}

// comparePages reads the pages of a volume, or of what a tag points to.
func comparePages(t *testing.T, vol pagestore.Volume, o *oracleVolume) (first error) {
	t.Helper()
	present := 0
	for it, err := range vol.Pages(0, o.size) {
		if err != nil {
			first = err
			break
		}
		present++
		if o.pages[it.Page] == nil {
			t.Fatalf("volume %q has page %d, which is absent", vol.Attrs.Name, it.Page)
		}
	}
	if first == nil && present != len(o.pages) {
		t.Fatalf("volume %q has %d pages, not %d", vol.Attrs.Name, present, len(o.pages))
	}
	buf := make([]byte, o.pageSize)
	for no, page := range o.pages {
		if err := vol.Read(no, buf); err != nil {
			first = cmp.Or(first, err)
		} else if !bytes.Equal(buf, page) {
			t.Fatalf("volume %q: page %d is wrong data", vol.Attrs.Name, no)
		}
	}
	return first
}

// compareTags reads all that the tags of a volume point to.
func compareTags(t *testing.T, v *recovery.Viewed, vol pagestore.Volume, o *oracleVolume) (first error) {
	t.Helper()
	seen := 0
	for tag, err := range v.Snapshot().Tags(vol.ID) {
		if err != nil {
			return cmp.Or(first, err)
		}
		seen++
		kept := o.tags[string(tag.Ref)]
		if kept == nil || kept.size != tag.Tree.Pages() {
			t.Fatalf("tag %q of volume %q, of %d pages, is not what was committed", tag.Ref, vol.Attrs.Name, tag.Tree.Pages())
		}
		first = cmp.Or(first, comparePages(t, tag, kept))
	}
	if first == nil && seen != len(o.tags) {
		t.Fatalf("volume %q has %d tags, want %d", vol.Attrs.Name, seen, len(o.tags))
	}
	return first
}

// fingerprint is everything in a directory: names, kinds and bytes.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	var out bytes.Buffer
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s %v ", path, d.Type())
		if d.Type().IsRegular() {
			b, err := os.ReadFile(filepath.Join(dir, path))
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, "%d %v", len(b), wal.HashPage(0, b))
		}
		out.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// readAll reads everything through a manager, as compare does.
func readAll(t *testing.T, m *txn.Manager, want oracle) (first error) {
	t.Helper()
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	note(m.View(context.Background(), func(tx *txn.Tx) error {
		for name, o := range want {
			v, err := tx.Volume(name)
			if err != nil {
				note(err)
				continue
			}
			buf := make([]byte, o.pageSize)
			for no := range o.pages {
				if err := v.ReadPage(no, buf); err != nil {
					note(err)
				} else if !bytes.Equal(buf, o.pages[no]) {
					t.Fatalf("volume %q: page %d is wrong data", name, no)
				}
			}
		}
		return nil
	}))
	return first
}
