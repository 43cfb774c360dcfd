package objects_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

// act is one Put or Delete of a workload.
type act struct {
	remove    bool
	key, text string
	began     int // operations of the disk before it
	ended     int // and when it was acknowledged; 0 if it never was
}

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// workload puts and deletes in new directories and old ones, and keys that are
// taken. It stops at the first error that its steps do not expect.
func workload() []act {
	return []act{
		{key: "FORMAT", text: "one"},
		{key: "logs/a/append/1", text: big("1")},
		{key: "logs/a/append/2", text: big("2")},
		{key: "logs/a/append/1", text: big("1")},
		{remove: true, key: "logs/a/append/2"},
		{key: "logs/a/append/2", text: big("2 again")},
		{key: "logs/b/start", text: ""},
		{remove: true, key: "FORMAT"},
		{remove: true, key: "none/x"},
	}
}

// big has several sectors, so that it can be torn.
func big(word string) string { return strings.Repeat(word+", ", 1500/len(word)) }

// do runs the acts on a store until one fails, and notes when each was
// acknowledged.
func do(s *objects.Dir, disk *crashfs.FS, acts []act) error {
	for i := range acts {
		a := &acts[i]
		a.began = disk.Ops()
		var err error
		if a.remove {
			err = s.Delete(background, a.key)
		} else if err = put(s, a.key, a.text); errors.Is(err, objects.ErrExists) {
			err = nil
		}
		if err != nil {
			return err
		}
		a.ended = disk.Ops()
	}
	return nil
}

// check compares what a disk holds that was cut off after operation k with the
// acts: every object is whole, and what was acknowledged holds.
func check(t *testing.T, where string, has map[string]string, acts []act, k int) {
	t.Helper()
	allowed := map[string]map[string]bool{}
	for _, a := range acts {
		if a.began > k {
			break
		}
		if allowed[a.key] == nil {
			allowed[a.key] = map[string]bool{"-": true}
		}
		after := "+" + a.text
		if a.remove {
			after = "-"
		}
		if a.ended != 0 && a.ended <= k {
			clear(allowed[a.key])
		}
		allowed[a.key][after] = true
	}
	for key, states := range allowed {
		state := "-"
		if text, found := has[key]; found {
			state = "+" + text
		}
		if !states[state] {
			t.Fatalf("%s: %s is %.30q of %d bytes", where, key, state, len(state)-1)
		}
	}
	for key := range has {
		if allowed[key] == nil {
			t.Fatalf("%s: nobody put %s", where, key)
		}
	}
}

const crashSeeds = 12

func crashModels() []crashfs.Model {
	list := []crashfs.Model{crashfs.Ordered, crashfs.KillOnly, crashfs.Posix}
	for seed := range uint64(crashSeeds) {
		list = append(list, crashfs.MetadataOrdered(seed), crashfs.Random(seed))
	}
	return list
}

// TestEveryCut cuts the power, or kills, at every operation: what was
// acknowledged is there, everything is whole, and the store goes on.
func TestEveryCut(t *testing.T) {
	disk, acts := crashfs.New(), workload()
	s := onDisk(t, disk, began)
	opened := disk.Ops()
	ok(t, do(s, disk, acts))
	cuts := 0
	for k := opened; k <= disk.Ops(); k++ {
		for _, m := range crashModels() {
			image := disk.Cut(k, m)
			where := fmt.Sprintf("operation %d, %v", k, m)
			again := onDisk(t, image, began.Add(2*objects.LeftoverAge))
			check(t, where, contents(t, again), acts, k)
			goesOn(t, where, image, again)
			cuts++
		}
	}
	t.Logf("%d cuts at %d operations", cuts, disk.Ops()-opened)
}

// goesOn does the whole work again on what was left, and finds no leftover.
func goesOn(t *testing.T, where string, image *crashfs.FS, s *objects.Dir) {
	t.Helper()
	if err := do(s, image, workload()); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	left, err := image.ReadDir("/deep/store/.put")
	ok(t, err)
	if len(left) > 0 {
		t.Fatalf("%s: leftover %v", where, left[0])
	}
	if has := contents(t, s); len(has) != 3 || has["logs/b/start"] != "" || has["logs/a/append/1"] != big("1") {
		t.Fatalf("%s: in the end there is %d objects", where, len(has))
	}
}

// TestKilledThenCut kills at every operation, repeats some of the work, and then
// cuts the power: a Put that answers ErrExists has made another's object
// durable, and a Delete that finds nothing another's deletion.
func TestKilledThenCut(t *testing.T) {
	whole, acts := crashfs.New(), workload()
	s := onDisk(t, whole, began)
	opened := whole.Ops()
	ok(t, do(s, whole, acts))
	for k := opened; k <= whole.Ops(); k++ {
		image := whole.Cut(k, crashfs.KillOnly)
		again := onDisk(t, image, began)
		repeated := []act{{key: "logs/a/append/1", text: big("1")}, {key: "logs/b/start", text: ""}, {remove: true, key: "FORMAT"}}
		ok(t, do(again, image, repeated))
		for _, m := range crashModels() {
			has := contents(t, onDisk(t, image.Cut(image.Ops(), m), began))
			if text, found := has["logs/b/start"]; !found || text != "" || has["logs/a/append/1"] != big("1") {
				t.Fatalf("killed after %d and cut by %v: an acknowledged object is gone", k, m)
			}
			if _, found := has["FORMAT"]; found {
				t.Fatalf("killed after %d and cut by %v: a deleted object is back", k, m)
			}
		}
	}
}

// TestEveryFault makes each operation fail once: an error says what it must,
// and the same act again, by a store that was opened anew if need be, ends well.
func TestEveryFault(t *testing.T) {
	broken := errors.New("the disk is broken")
	whole := crashfs.New()
	s := onDisk(t, whole, began)
	opened := whole.Ops()
	ok(t, do(s, whole, workload()))
	for k := opened + 1; k <= whole.Ops(); k++ {
		disk, acts := crashfs.New(), workload()
		s := onDisk(t, disk, began)
		disk.Inject(crashfs.FailAt(k, broken))
		err := do(s, disk, acts)
		disk.Inject(nil)
		where := fmt.Sprintf("%v", whole.Log()[k-1])
		if err != nil {
			refusesOrGoesOn(t, where, s, acts, err, broken)
		}
		check(t, where, contents(t, s), acts, disk.Ops())
		again := onDisk(t, disk, began.Add(2*objects.LeftoverAge))
		goesOn(t, where, disk, again)
	}
}

// refusesOrGoesOn checks the error of the first act that has no end.
func refusesOrGoesOn(t *testing.T, where string, s *objects.Dir, acts []act, err, cause error) {
	t.Helper()
	var typed *objects.Error
	if !errors.Is(err, cause) || !errors.As(err, &typed) {
		t.Fatalf("%s: the error is %v", where, err)
	}
	var failed act
	wasThere := false
	for _, a := range acts {
		failed = a
		if a.ended == 0 {
			break
		}
	}
	for _, a := range acts {
		if a.key == failed.key && a.ended != 0 {
			wasThere = !a.remove
		}
	}
	r, _, gerr := s.Get(background, failed.key, 0, -1)
	if gerr == nil {
		ok(t, r.Close())
	}
	if isThere := gerr == nil; !errors.Is(err, objects.ErrUnknown) && isThere != wasThere {
		t.Errorf("%s: the object is there: %v, though %v", where, isThere, err)
	}
	next := put(s, "next", "")
	if strings.Contains(where, string(crashfs.SyncDir)) {
		is(t, next, objects.ErrFailed)
		is(t, s.Delete(background, "next"), objects.ErrFailed)
		return
	}
	ok(t, next)
	ok(t, s.Delete(background, "next"))
}
