package backup_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/quire-db/quire/backup/archive"
	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/restore"
	"github.com/quire-db/quire/backup/retain"
	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/backup/snapshot"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// job is what a child process does to an archive, and when it is killed.
type job struct {
	Command  string
	Archive  string
	Store    string // that is archived
	Restored string // where a restore goes
	History  []position
	Base     position
	Logs     []wal.TimelineID
	MaxBytes int64
	At       int
	How      objectstest.How // 0: it lives
	Calls    bool            // it says how many calls it made
	Later    bool            // the pins of the killed have ended
	Key      string          // an identity, when the archive is encrypted
}

// position is a wal.Position in JSON.
type position struct {
	Timeline wal.TimelineID
	LSN      wal.LSN
	Hash     wal.Hash
}

// commands are what is killed at every call. A further one is a line here, and its
// archive's preparation a line in killed.
var commands = map[string]func(j *job, k keys, store objects.Store) error{
	"archive":   (*job).archives,
	"full":      (*job).snapshots,
	"increment": (*job).snapshots,
	"pack":      (*job).packs,
	"prune":     (*job).prunes,
	"restore":   (*job).restores,
}

// childJob is the environment's name of a child's job.
const childJob = "QUIRE_BACKUP_JOB"

func TestMain(m *testing.M) {
	if text := os.Getenv(childJob); text != "" {
		if err := work(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// work is a child's.
func work(text string) error {
	j := &job{}
	if err := json.Unmarshal([]byte(text), j); err != nil {
		return err
	}
	var k keys
	if j.Key != "" {
		id, err := age.ParseX25519Identity(j.Key)
		if err != nil {
			return err
		}
		k = keys{archive.SealOptions{Recipients: []age.Recipient{id.Recipient()}}, []age.Identity{id}}
	}
	d, err := objects.OpenDir(j.Archive, objects.DirOptions{})
	if err != nil {
		return err
	}
	c := objectstest.Count(d)
	c.At(j.At, j.How)
	if err := commands[j.Command](j, k, c); err != nil {
		return err
	}
	if j.Calls {
		fmt.Println(len(c.Log()))
	}
	return nil
}

// archives ships the log of a store that nobody has open.
func (j *job) archives(k keys, store objects.Store) error {
	var h ship.History
	for _, p := range j.History {
		h = append(h, wal.Position(p))
	}
	o := k.shipping()
	if j.MaxBytes > 0 {
		o.MaxBytes = j.MaxBytes
	}
	a, err := ship.Open(ctx, store, h, o)
	if err != nil {
		return err
	}
	tail, err := recovery.OpenTail(vfs.OS(), j.Store, a.Position().LSN+1)
	if err != nil {
		return err
	}
	defer tail.Close()
	return a.Run(ctx, ship.Func(func(context.Context) (ship.Entry, error) {
		rec, images, err := tail.Next()
		if err != nil {
			return ship.Entry{}, err
		}
		return ship.Entry{Entry: rec.Entry, Images: images}, nil
	}))
}

// snapshots takes one of a store that nobody has open. That the archive has it
// already is no failure.
func (j *job) snapshots(k keys, store objects.Store) error {
	v, err := recovery.View(vfs.OS(), j.Store, 0)
	if err != nil {
		return err
	}
	defer v.Close()
	_, err = snapshot.Take(ctx, store, v.Snapshot(), snapshot.Options{
		Base: wal.Position(j.Base), PageSize: v.Facts().Options.PageSize, PartBytes: 24 << 10, Seal: k.seal,
	})
	if errors.Is(err, snapshot.ErrTaken) {
		return nil
	}
	return err
}

func (j *job) packs(k keys, store objects.Store) error {
	for _, l := range j.Logs {
		if _, err := ship.Pack(ctx, store, l, k.packing()); err != nil {
			return err
		}
	}
	return nil
}

// prunes all but the newest snapshot of each line, and what is behind it.
func (j *job) prunes(k keys, store objects.Store) error {
	_, err := retain.Run(ctx, store, retain.Policy{Last: 1}, j.pruning(k))
	return err
}

func (j *job) pruning(k keys) (o retain.Options) {
	o.Identities, o.Retry = k.ids, impatient
	if j.Later {
		o.Pin.Now = func() time.Time { return time.Now().Add(time.Hour) }
	}
	return o
}

// restores to the newest state. That it is there already is no failure.
func (j *job) restores(k keys, store objects.Store) error {
	o := k.restoring()
	o.Follower = true
	_, err := txn.Restore(ctx, store, j.Restored, restore.Target{}, o, txn.Options{GenerationBytes: 2 << 20})
	if errors.Is(err, restore.ErrNotEmpty) {
		return nil
	}
	return err
}

// process is a child that does a job.
func (j job) process(t testing.TB) *exec.Cmd {
	t.Helper()
	b, err := json.Marshal(j)
	must(t, err)
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childJob+"="+string(b))
	return c
}

// job of a command on the world's archive.
func (w *world) job(command string) job {
	j := job{Command: command, Archive: w.archive(), Store: w.home}
	for _, p := range w.history() {
		j.History = append(j.History, position(p))
	}
	for _, l := range w.lines {
		j.Logs = append(j.Logs, l.id)
	}
	if command == "increment" {
		j.Base = position(w.snaps[len(w.snaps)-1])
	}
	if len(w.keys.ids) > 0 {
		j.Key = fmt.Sprint(w.keys.ids[0])
	}
	return j
}

// TestKilledAtEveryCall kills each command at every call of the object store, before
// and behind it. What could be restored before still can, and verify finds nothing but
// leftovers; the next run finishes the work, and then all is there.
func TestKilledAtEveryCall(t *testing.T) {
	t.Run("zstd", func(t *testing.T) { testKilled(t, keys{}) })
	if heavy() > 0 {
		k := encrypted(t)
		t.Run("age", func(t *testing.T) { testKilled(t, k) })
	}
}

func testKilled(t *testing.T, k keys) {
	w := newWorld(t, 4, k)
	for range 2 { // two timelines, with something to pack, and something left to ship
		for i := range 20 {
			w.commit()
			if i%2 == 0 && i < 14 {
				w.ship()
			}
			if i == 10 {
				w.snapshot()
			}
		}
		if len(w.lines) == 1 {
			w.ship()
			w.lose(2)
			must(t, os.CopyFS(w.before("archive"), os.DirFS(w.archive()))) // it has the second timeline to begin
		}
	}
	w.close()
	must(t, os.CopyFS(w.before("prune"), os.DirFS(w.archive())))
	for _, command := range []string{"archive", "full"} {
		j := w.job(command)
		j.Archive, j.At = w.before("prune"), -1
		if out, err := j.process(t).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
	}
	for command := range commands {
		t.Run(command, func(t *testing.T) { w.killed(t, command) })
	}
}

// before is the archive that a command begins with.
func (w *world) before(command string) string {
	switch command {
	case "archive":
		return filepath.Join(w.dir, "archive-of-one-timeline")
	case "prune":
		return filepath.Join(w.dir, "archive-to-prune")
	}
	return w.archive()
}

// killed kills one command at every call, each time on a copy of the archive.
func (w *world) killed(t *testing.T, command string) {
	calls, nth := w.calls(t, command), 1
	switch {
	case heavy() == 0:
		nth = max(1, calls/2)
	case len(w.keys.ids) > 0: // it is the same code
		nth = 5
	}
	parallel(2*calls/nth, func(i int) {
		j := w.job(command)
		j.At, j.How = i*nth/2, []objectstest.How{objectstest.KillBefore, objectstest.KillAfter}[i%2]
		if err := w.killedAt(t, j); err != nil {
			t.Errorf("%s, killed at call %d of %d (%d): %v", command, j.At, calls, j.How, err)
		}
	})
	t.Logf("%d calls", calls)
}

// calls is how many a command makes.
func (w *world) calls(t *testing.T, command string) (n int) {
	j, done := w.on(t, w.job(command), w.before(command))
	defer done()
	j.At, j.Calls = -1, true
	out, err := j.process(t).Output()
	must(t, err)
	_, err = fmt.Sscan(string(out), &n)
	must(t, err)
	if n < 5 {
		t.Fatalf("%s makes %d calls", command, n)
	}
	return n
}

// on makes a job that of a copy of an archive.
func (w *world) on(t *testing.T, j job, from string) (job, func()) {
	dir, err := os.MkdirTemp(w.dir, "killed-")
	must(t, err)
	j.Archive, j.Restored = filepath.Join(dir, "archive"), filepath.Join(dir, "restored")
	must(t, os.CopyFS(j.Archive, os.DirFS(from)))
	return j, func() { _ = os.RemoveAll(dir) }
}

func (w *world) killedAt(t *testing.T, j job) error {
	j, done := w.on(t, j, w.before(j.Command))
	defer done()
	last := w.shipped(j.Archive)
	if err := j.process(t).Run(); !objectstest.Killed(err) {
		return fmt.Errorf("the process ended by %v", err)
	}
	if j.Command != "restore" {
		if err := w.whole(j, last); err != nil {
			return fmt.Errorf("behind the kill: %w", err)
		}
	}
	j.How, j.Later = 0, true
	if out, err := j.process(t).CombinedOutput(); err != nil {
		return fmt.Errorf("the next run: %w: %s", err, out)
	}
	if j.Command == "archive" {
		last = point{w.line(), w.line().last()}
	}
	return w.finished(j, last)
}

// shipped is the newest point that an archive has.
func (w *world) shipped(dir string) (newest point) {
	for key, b := range filesOf(w.t, dir) {
		k, err := archive.ParseKey(key)
		if err != nil || k.Kind != archive.KindAppend && k.Kind != archive.KindPack {
			continue
		}
		h, err := archive.DecodeHeader(k, int64(len(b)), b)
		must(w.t, err)
		for i, l := range w.lines {
			if l.id == k.Log && (l == newest.l && h.Last > newest.lsn || i > slices.Index(w.lines, newest.l)) {
				newest = point{l, h.Last}
			}
		}
	}
	return newest
}

// whole makes sure that an archive is sound but for leftovers, and that what was in it can
// still can be restored, to some points.
func (w *world) whole(j job, points ...point) error {
	d, err := objects.OpenDir(j.Archive, objects.DirOptions{})
	if err != nil {
		return err
	}
	if err := w.sound(d); err != nil {
		return err
	}
	for _, p := range points {
		if err := w.checked(d, p.target(), p.moment(), false); err != nil {
			return err
		}
	}
	return nil
}

// sound is nil when neither the logs nor any snapshot have a problem.
func (w *world) sound(d objects.Store) error {
	rep, err := ship.Verify(ctx, d, ship.ReadOptions{Identities: w.keys.ids, Retry: impatient})
	if err != nil {
		return err
	}
	if !rep.Sound() {
		return fmt.Errorf("it is not sound: %v", rep.Problems)
	}
	for _, l := range w.lines {
		list, err := snapshot.List(ctx, d, l.id)
		if err != nil {
			return err
		}
		for _, h := range list {
			chain, err := snapshot.Chain(ctx, d, h.Position(), w.keys.ids)
			if err != nil {
				return err
			}
			r := snapshot.NewReader(ctx, d, chain[len(chain)-1], w.keys.ids)
			_, err = io.Copy(io.Discard, r)
			r.Close()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// finished makes sure that the work of a command is done.
func (w *world) finished(j job, last point) error {
	d, err := objects.OpenDir(j.Archive, objects.DirOptions{})
	if err != nil {
		return err
	}
	switch j.Command {
	case "full", "increment":
		m, err := snapshot.Read(ctx, d, w.line().moment(w.line().last()).at, w.keys.ids)
		if err != nil || m.Whole() != (j.Command == "full") {
			return fmt.Errorf("the snapshot is %+v: %w", m, err)
		}
	case "pack":
		for key := range filesOf(w.t, j.Archive) {
			if kindOf(key) == archive.KindAppend && !w.isYoung(j, key) {
				return fmt.Errorf("%s is not packed", key)
			}
		}
	case "prune":
		planned, err := retain.Plan(ctx, d, retain.Policy{Last: 1}, j.pruning(w.keys))
		if err != nil || planned.Gone.Objects > 0 {
			return fmt.Errorf("it is not pruned: %+v: %w", planned, err)
		}
		return w.whole(j, last)
	case "restore":
		sums, err := sumsOf(j.Restored)
		if want := last.moment().state.sums(); err != nil || !maps.Equal(sums, want) {
			return fmt.Errorf("what was restored has the sums %v, want %v: %w", sums, want, err)
		}
		if left, _ := filepath.Glob(j.Restored + ".*"); len(left) > 0 {
			return fmt.Errorf("%v is left", left)
		}
		if !maps.EqualFunc(unpinned(filesOf(w.t, j.Archive)), unpinned(filesOf(w.t, w.before(j.Command))), bytes.Equal) {
			return errors.New("a restore has changed the archive")
		}
		return nil
	}
	if j.Command == "full" || j.Command == "increment" {
		if err := w.checked(d, point{w.line(), w.line().last()}.target(), w.line().moment(w.line().last()), true); err != nil {
			return err
		}
	}
	return w.whole(j, point{w.lines[0], 5}, point{w.lines[0], w.lines[0].last()}, last)
}

// isYoung reports whether an append may be left unpacked: it has no pack behind it, and
// is one of too few.
func (w *world) isYoung(j job, key string) bool {
	k, _ := archive.ParseKey(key)
	for other := range filesOf(w.t, j.Archive) {
		if p, err := archive.ParseKey(other); err == nil && p.Kind == archive.KindPack && p.Log == k.Log && p.Last >= k.First {
			return false
		}
	}
	return true
}

// TestArchiversAtOnce: processes archive one store at once, which cut entries
// differently, and of which some are killed. The archive has one history, and all of it.
func TestArchiversAtOnce(t *testing.T) {
	w := newWorld(t, 5, keys{})
	w.commit()
	w.ship()
	for range 25 {
		w.commit()
	}
	w.close()
	rounds := 2
	if heavy() > 0 {
		rounds = 12
	}
	for round := range rounds {
		j, done := w.on(t, w.job("archive"), w.archive())
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() {
				j := j
				j.MaxBytes = int64(3000 + 5000*i)
				if i == 2 {
					j.At, j.How = 3+3*round, objectstest.KillAfter
				}
				if out, err := j.process(t).CombinedOutput(); err != nil && !(i == 2 && objectstest.Killed(err)) {
					t.Errorf("archiver %d: %v: %s", i, err, out)
				}
			})
		}
		all.Wait()
		if err := w.oneHistory(j); err != nil {
			t.Error(err)
		}
		if err := w.whole(j, point{w.line(), 7}, point{w.line(), w.line().last()}); err != nil {
			t.Error(err)
		}
		done()
	}
}

// oneHistory makes sure that each append begins behind another one's end.
func (w *world) oneHistory(j job) error {
	var ends []wal.LSN
	begins := map[wal.LSN]bool{}
	for key, b := range filesOf(w.t, j.Archive) {
		k, err := archive.ParseKey(key)
		if err != nil || k.Kind != archive.KindAppend {
			continue
		}
		h, err := archive.DecodeHeader(k, int64(len(b)), b)
		if err != nil {
			return err
		}
		ends, begins[h.First] = append(ends, h.Last), true
	}
	slices.Sort(ends)
	for i, end := range ends {
		if i+1 < len(ends) && (!begins[end+1] || ends[i+1] == end) {
			return fmt.Errorf("the archive forks behind LSN %d: appends end at %v", end, ends)
		}
	}
	return nil
}

// unpinned leaves out the pins: those of the killed end by themselves.
func unpinned(files map[string][]byte) map[string][]byte {
	maps.DeleteFunc(files, func(key string, _ []byte) bool { return kindOf(key) == archive.KindPin })
	return files
}
