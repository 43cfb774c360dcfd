package backup_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/wal"
)

// files are the objects of an archive by their keys.
type files map[string][]byte

func filesOf(t testing.TB, dir string) files {
	t.Helper()
	f := files{}
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		key, err := filepath.Rel(dir, path)
		if err == nil {
			f[filepath.ToSlash(key)], err = os.ReadFile(path)
		}
		return err
	}))
	return f
}

// damage is one file spoilt, or two exchanged.
type damage struct {
	how     string
	key     string
	changed files // nil for a file that is gone
}

func (d damage) String() string { return d.how + " " + d.key }

// adds reports whether it makes a file that was not there.
func (d damage) adds(f files) bool {
	for key := range d.changed {
		if _, is := f[key]; !is {
			return true
		}
	}
	return false
}

// damages are all ways to spoil single files of an archive.
func damages(f files) (all []damage) {
	keys := slices.Sorted(maps.Keys(f))
	for i, key := range keys {
		b := f[key]
		add := func(how string, changed files) { all = append(all, damage{how, key, changed}) }
		add("delete", files{key: nil})
		for _, n := range []int{0, len(b) / 2, len(b) - 1} {
			add(fmt.Sprint("truncate to ", n), files{key: bytes.Clone(b[:n])})
		}
		add("lengthen", files{key: append(bytes.Clone(b), 0)})
		for at := 0; at < len(b); at += 1 + len(b)/4 {
			flipped := bytes.Clone(b)
			flipped[at] ^= 1 << (at % 8)
			add(fmt.Sprint("flip at ", at), files{key: flipped})
		}
		for _, other := range partners(keys, i) {
			add("swap with "+other, files{key: f[other], other: b})
		}
		for _, other := range elsewhere(key) {
			if _, is := f[other]; !is {
				add("duplicate as "+other, files{other: b})
			}
		}
	}
	return all
}

// partners are files to exchange one with: the next one, the next of its kind, and one
// far away.
func partners(keys []string, i int) (others []string) {
	if i+1 == len(keys) {
		return nil
	}
	for _, other := range keys[i+1:] {
		if kindOf(other) == kindOf(keys[i]) {
			others = append(others, other)
			break
		}
	}
	for _, other := range []string{keys[i+1], keys[(i+len(keys)/2)%len(keys)]} {
		if other != keys[i] && !slices.Contains(others, other) {
			others = append(others, other)
		}
	}
	return others
}

// elsewhere are keys where a copy of a file does not belong: one of its kind, as a
// program would name it, and one as people do.
func elsewhere(key string) []string {
	k, err := archive.ParseKey(key)
	if err != nil {
		return nil
	}
	switch k.Kind {
	case archive.KindStart:
		k.Log = wal.TimelineID(uuid.UUID{1: 1})
	case archive.KindPart:
		k.Number += 100
	case archive.KindBlob:
		k.ID[3] ^= 1
	case archive.KindPack:
		k.Last++
	default:
		k.First += 1000
	}
	return []string{k.String(), key + "-copy"}
}

func kindOf(key string) archive.Kind {
	k, err := archive.ParseKey(key)
	if err != nil {
		return 0
	}
	return k.Kind
}

// unnoticed are the damages that no one can tell from a sound archive, each with the
// reason why none is needed. Of all others verify must say which file, and end with
// exit code 3.
var unnoticed = []struct {
	how, why string
	kind     archive.Kind
}{
	{"delete", "the end of a log without a mark is what a killed archiver leaves: verify notes it", archive.KindMark},
	{"delete", "a snapshot without a manifest is what a killed backup leaves: verify notes its parts", archive.KindManifest},
}

// excused reports whether a damage is one of those, and is noted by verify.
func (d damage) excused(r *report) bool {
	for _, u := range unnoticed {
		if d.how == u.how && kindOf(d.key) == u.kind {
			dir := d.key[:strings.LastIndexByte(d.key, '/')]
			return slices.ContainsFunc(r.Notes, func(p problem) bool { return strings.HasPrefix(p.Key, dir) })
		}
	}
	return false
}

// report is what txnctl backup verify --json says.
type report struct {
	Clean      bool      `json:"clean"`
	Problems   []problem `json:"problems"`
	Notes      []problem `json:"notes"`
	Restorable []struct {
		Timeline string  `json:"timeline"`
		First    wal.LSN `json:"first"`
		Last     wal.LSN `json:"last"`
	} `json:"restorable"`
}

// promises reports whether it says that a point of a line's own can be restored.
func (r *report) promises(p point) bool {
	for _, x := range r.Restorable {
		if x.Timeline == p.l.id.String() && x.First <= p.lsn && p.lsn <= x.Last {
			return true
		}
	}
	return false
}

type problem struct {
	Key    string `json:"key"`
	Kind   string `json:"kind"`
	Reason string `json:"reason"`
}

// names reports whether a problem is that of a file of the damage, or the gap that it
// makes.
func (r *report) names(d damage) bool {
	return slices.ContainsFunc(r.Problems, func(p problem) bool {
		if _, is := d.changed[p.Key]; is {
			return true
		}
		k, err := archive.ParseKey(d.key)
		gap, errGap := archive.ParseKey(p.Key)
		return err == nil && errGap == nil && p.Kind == "missing" && k.Kind == archive.KindPack && gap.Log == k.Log && gap.First == k.First
	})
}

// built is the directory of the command; TestMain removes it.
var built string

// txnctl is the command, built once.
var txnctl = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "quire-txnctl-")
	if err != nil {
		return "", err
	}
	built = dir
	name := filepath.Join(dir, "txnctl")
	out, err := exec.Command("go", "build", "-o", name, "github.com/quire-db/quire/cmd/txnctl").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return name, err
})

// verify runs txnctl backup verify. args are what opens the archive.
func verify(dir string, args ...string) (*report, error) {
	name, err := txnctl()
	if err != nil {
		return nil, err
	}
	var out, said bytes.Buffer
	cmd := exec.Command(name, append([]string{"backup", "verify", "file://" + dir, "--json"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	r := &report{}
	if code := cmd.ProcessState.ExitCode(); code == 3 && out.Len() == 0 && strings.Contains(said.String(), archive.FormatKey) {
		r.Problems = []problem{{archive.FormatKey, "missing", said.String()}} // without it nothing else is looked at
		return r, nil
	}
	if e := json.Unmarshal(out.Bytes(), r); e != nil {
		return nil, fmt.Errorf("%w: %s%s", errors.Join(e, err), out.Bytes(), said.Bytes())
	}
	if code := cmd.ProcessState.ExitCode(); r.Clean != (code == 0) || !r.Clean != (code == 3) {
		return nil, fmt.Errorf("clean is %v, the exit code %d: %s", r.Clean, code, said.Bytes())
	}
	return r, nil
}

// read is a store that notes which objects are read, beyond their headers.
type read struct {
	objects.Store
	mu   sync.Mutex
	keys map[string]bool
}

func (r *read) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	if k := kindOf(key); n != archive.HeaderBytes || k != archive.KindManifest && k != archive.KindPart {
		r.mu.Lock()
		r.keys[key] = true
		r.mu.Unlock()
	}
	return r.Store.Get(ctx, key, off, n)
}

// needed is a target, the point that it leads to, and the objects that a restore reads.
type needed struct {
	point
	to   restore.Target
	keys map[string]bool
}

// exact reports whether the target is an LSN: else a file that is added may change
// where the log ends, or which timeline is the newest.
func (n needed) exact() bool { return n.to.LSN != 0 }

// targets are some of both timelines: LSNs, times, and the newest states.
func (w *world) targets(t *testing.T) (list []needed) {
	t.Helper()
	add := func(p point, to restore.Target) {
		r := &read{Store: w.store, keys: map[string]bool{}}
		must(t, w.checked(r, to, p.moment(), false))
		list = append(list, needed{p, to, r.keys})
	}
	for _, l := range w.lines {
		for lsn := wal.LSN(1); lsn <= l.last(); lsn += max(1, (l.last()-1)/4) {
			p := point{l, lsn}
			add(p, p.target())
			add(p, p.between(w.r))
		}
		p := point{l, l.last()}
		add(p, p.target())
		add(p, restore.Target{Timeline: l.id})
	}
	add(point{w.line(), w.line().last()}, restore.Target{})
	return list
}

// copies are archives to be spoilt, one for each who works.
type copies struct {
	free chan *spoilt
}

type spoilt struct {
	dir   string
	store objects.Store
}

func (w *world) copies(t *testing.T, n int) *copies {
	c := &copies{make(chan *spoilt, n)}
	for range n {
		s := &spoilt{dir: filepath.Join(scratch(t), "archive")}
		must(t, os.CopyFS(s.dir, os.DirFS(w.archive())))
		var err error
		s.store, err = objects.OpenDir(s.dir, objects.DirOptions{})
		must(t, err)
		c.free <- s
	}
	return c
}

// set makes files be what they are said to be.
func (s *spoilt) set(f files) error {
	for key, b := range f {
		name := filepath.Join(s.dir, filepath.FromSlash(key))
		err := os.Remove(name)
		if errors.Is(err, fs.ErrNotExist) {
			err = os.MkdirAll(filepath.Dir(name), 0o777)
		}
		if err == nil && b != nil {
			err = os.WriteFile(name, b, 0o666)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// with does something with a copy that is spoilt, and mends it.
func (c *copies) with(d damage, f files, do func(s *spoilt)) error {
	s := <-c.free
	defer func() { c.free <- s }()
	err := s.set(d.changed)
	if err == nil {
		do(s)
	}
	mended := files{}
	for key := range d.changed {
		mended[key] = f[key]
	}
	return errors.Join(err, s.set(mended))
}

// refusals are what a restore that cannot do its work may say.
var refusals = []error{restore.ErrRefused, restore.ErrAmbiguous, wal.ErrCorrupt, wal.ErrVersion, objects.ErrNotFound, snapshot.ErrDiverged}

func isRefusal(err error) bool {
	return slices.ContainsFunc(refusals, func(e error) bool { return errors.Is(err, e) })
}

// TestEverySingleFile spoils every file of an archive, in every way, one at a time: the
// command verify finds every one and names it; no restore that needs it ends with
// anything else than what was, and those that do not need it still work. Snapshots are
// never needed where the log reaches back to its beginning, as it does here.
func TestEverySingleFile(t *testing.T) {
	t.Run("zstd", func(t *testing.T) { testEverySingleFile(t, 1, keys{}) })
	k := encrypted(t)
	name := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(name, []byte(fmt.Sprintln(k.ids[0])), 0o600))
	t.Run("age", func(t *testing.T) { testEverySingleFile(t, 4, k, "--identity", name) }) // the same code
}

// testEverySingleFile does each nth damage; args are what opens the archive.
func testEverySingleFile(t *testing.T, nth int, k keys, args ...string) {
	w := newWorld(t, 3, k)
	w.partBytes = 64 << 10
	w.live(50)
	w.close()
	t.Log(w.kinds())
	if r, err := verify(w.archive(), args...); err != nil || !r.Clean || len(r.Notes) > 0 {
		t.Fatalf("before anything was spoilt: %+v, %v", r, err)
	}
	f, targets := filesOf(t, w.archive()), w.targets(t)
	all, c := damages(f), w.copies(t, 4)
	if heavy() == 0 {
		all = ofEachKind(all)
	}
	var restores, refused atomic.Int64
	parallel(len(all)/nth, func(i int) {
		d := all[i*nth]
		err := c.with(d, f, func(s *spoilt) {
			r, err := found(s, d, args)
			if err == nil && len(args) > 0 { // nobody needs the key to see it
				_, err = found(s, d, nil)
			}
			if err != nil {
				t.Errorf("%s: %v", d, err)
				return
			}
			done, no := w.around(t, s, d, f, targets, r, i)
			restores.Add(int64(done))
			refused.Add(int64(no))
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Logf("%d files, %d damages, %d restores of which %d refused", len(f), len(all)/nth, restores.Load(), refused.Load())
}

// ofEachKind is one damage of each sort to a file of each kind.
func ofEachKind(all []damage) (few []damage) {
	seen := map[string]bool{}
	for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(len(all)) {
		d := all[i]
		how, _, _ := strings.Cut(d.how, " ")
		if id := fmt.Sprint(how, kindOf(d.key)); !seen[id] {
			seen[id] = true
			few = append(few, d)
		}
	}
	return few
}

// found makes sure that verify names a damage, or notes what it left.
func found(s *spoilt, d damage, args []string) (*report, error) {
	r, err := verify(s.dir, args...)
	if err != nil {
		return nil, err
	}
	if !r.names(d) && !d.excused(r) {
		return nil, fmt.Errorf("verify does not name it: %+v", r)
	}
	return r, nil
}

// around restores from a spoilt archive to targets that need what is spoilt, and to
// some that do not. What verify promises must be so.
func (w *world) around(t *testing.T, s *spoilt, d damage, f files, targets []needed, r *report, i int) (done, refused int) {
	tried := map[bool]int{}
	for j := range targets {
		n := targets[(i+j)%len(targets)]
		need := d.adds(f) && !n.exact() || slices.ContainsFunc(slices.Collect(maps.Keys(d.changed)), func(key string) bool { return n.keys[key] })
		most := 1
		if need && heavy() > 0 {
			most = 2
		}
		if tried[need]++; tried[need] > most {
			continue
		}
		done++
		err := w.checked(s.store, n.to, n.moment(), false)
		kind := kindOf(d.key)
		optional := len(d.changed) == 1 && (kind == archive.KindManifest || kind == archive.KindPart)
		switch {
		case err == nil:
		case !isRefusal(err), !need, optional && n.exact(), n.exact() && n.lsn >= n.l.first && r.promises(n.point):
			t.Errorf("%s: %v", d, err)
		default:
			refused++
		}
	}
	return done, refused
}
