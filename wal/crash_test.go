package wal

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/internal/vfs/tidwallfs"
)

// TestCrash runs the tests of this file with the library on a crashing disk.
func TestCrash(t *testing.T) {
	if tidwallfs.Hooked {
		t.Skip("this is the hooked build")
	}
	module, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := tidwallfs.Command(module, t.TempDir(), "-v", "-run", "Hooked", "./wal")
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// moment is what the manifest said, and what was acknowledged, from an
// operation on.
type moment struct {
	ops   int
	gens  []Generation
	acked LSN
}

// crashRig is a rig that keeps its moments.
type crashRig struct {
	*rig
	disk    *crashfs.FS
	moments []moment
}

func (c *crashRig) note(acked LSN) {
	c.moments = append(c.moments, moment{c.disk.Ops(), slices.Clone(c.gens), acked})
}

func (c *crashRig) acked() LSN { return c.moments[len(c.moments)-1].acked }

// walk is a life of a log: commits, marks, rotation, sealing, a kill, and the
// tail moved as recovery does.
func (c *crashRig) walk() {
	c.open(1)
	c.note(0)
	for i := range 8 {
		c.commit(1+i%4, inline(200*i))
		c.note(c.last.LSN)
		if i == 5 {
			c.must(c.log.AppendMark(c.last.LSN))
			c.must(c.log.Sync())
		}
	}
	for range 4 {
		c.append(1, c.acked(), inline(1<<20-2000))
	}
	c.must(c.log.Sync())
	c.note(c.last.LSN)
	c.prepare(0)
	c.note(c.acked())
	c.commit(3, inline(5000))
	c.note(c.last.LSN)
	facts, err := c.log.SealRetired(c.last.LSN)
	c.must(err)
	c.store(facts)
	c.note(c.acked())
	c.append(6, c.acked(), inline(3000))
	c.recover()
	c.commit(2, inline(100))
	c.note(c.last.LSN)
	facts, err = c.log.Close()
	c.must(err)
	c.store(facts)
	c.note(c.acked())
}

// recover is what recovery does behind a kill.
func (c *crashRig) recover() {
	res, err := c.scan()
	c.must(err)
	var tail []Record
	for rec, err := range Records(c.fs, c.dir, c.gens, res.Durable.LSN+1, res.Last) {
		c.must(err)
		rec.Inline = slices.Clone(rec.Inline)
		tail = append(tail, *rec)
	}
	end := Position{res.Timeline, res.Last, res.Hash}
	c.last = res.Durable
	c.open(res.Durable.LSN + 1)
	g, err := c.log.NewGroup(1)
	c.must(err)
	for _, rec := range tail {
		_, err := g.Add(rec.Entry, Body{Inline: rec.Inline})
		c.must(err)
	}
	c.must(c.log.Append(g, res.Durable.LSN))
	c.must(c.log.Sync())
	c.must(c.log.AppendMark(end.LSN))
	c.must(c.log.Sync())
	c.last = end
	c.note(end.LSN) // the manifest names the new generation before anything is cut
	for _, g := range res.Keep {
		if !slices.Contains(c.gens, g) { // sealed just now
			c.must(CutBack(c.fs, c.dir, g))
		}
	}
	copy(c.gens, res.Keep)
	c.note(end.LSN)
}

func TestHookedCrashAnywhere(t *testing.T) {
	if !tidwallfs.Hooked {
		t.Skip("run by TestCrash")
	}
	disk := crashfs.New()
	if err := disk.Mkdir("/store"); err != nil {
		t.Fatal(err)
	}
	defer tidwallfs.Mount("/store", disk)()
	c := &crashRig{rig: &rig{t: t, fs: disk, dir: "/store/wal"}, disk: disk}
	if err := disk.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	c.walk()
	models := []crashfs.Model{crashfs.KillOnly, crashfs.Ordered, crashfs.Posix}
	for seed := range uint64(12) {
		models = append(models, crashfs.MetadataOrdered(seed), crashfs.Random(seed))
	}
	points, cuts := 0, 0
	for i, m := range c.moments {
		end := disk.Ops()
		if i+1 < len(c.moments) {
			end = c.moments[i+1].ops
		}
		for k := m.ops; k <= end; k++ {
			for _, model := range models {
				points++
				if c.check(m, k, model) {
					cuts++
				}
			}
		}
	}
	t.Logf("%d crash points, %d with a torn tail", points, cuts)
}

// check opens what a crash after operation k leaves.
func (c *crashRig) check(m moment, k int, model crashfs.Model) (torn bool) {
	image := c.disk.Cut(k, model)
	in := c.input()
	in.FS, in.Generations = image, m.gens
	res, err := Scan(in)
	if err != nil || res.Last < m.acked || res.Last > 0 && res.Hash != c.placed[res.Last-1].Hash {
		c.t.Fatalf("operation %d of %d, %v: %+v, %v; %d was acknowledged", k, c.disk.Ops(), model, res, err, m.acked)
	}
	n := LSN(0)
	for rec, err := range Records(image, c.dir, m.gens, 1, res.Last) {
		if err != nil {
			c.t.Fatalf("operation %d, %v: %v", k, model, err)
		}
		n = rec.LSN
	}
	if n != res.Last {
		c.t.Fatalf("operation %d, %v: %d records of %d", k, model, n, res.Last)
	}
	return res.Cut != nil
}
