package objects_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/quire-db/quire/backup/objects/objectstest"
)

// Environment of a child process: the store's directory, and which call of its
// work kills it, how.
const (
	killedIn   = "QUIRE_OBJECTS_KILLED_IN"
	killedAt   = "QUIRE_OBJECTS_KILLED_AT"
	killedWork = 4 // calls
)

// killedChild puts and deletes until it is killed, if this process is a child.
func killedChild() {
	dir := os.Getenv(killedIn)
	if dir == "" {
		return
	}
	var n, how int
	if _, err := fmt.Sscan(os.Getenv(killedAt), &n, &how); err != nil {
		os.Exit(3)
	}
	s, err := openDir(dir)
	if err != nil {
		os.Exit(4)
	}
	c := objectstest.Count(s)
	c.At(n, objectstest.How(how))
	if err := errors.Join(put(c, "a/1", "one"), put(c, "a/2", "two"), c.Delete(background, "a/1"), put(c, "a/3", "three")); err != nil {
		os.Exit(5)
	}
	os.Exit(0)
}

// TestKilled kills a process by SIGKILL at each call, before it and behind it.
func TestKilled(t *testing.T) {
	after := []map[string]string{
		{},
		{"a/1": "one"},
		{"a/1": "one", "a/2": "two"},
		{"a/2": "two"},
		{"a/2": "two", "a/3": "three"},
	}
	for n := range killedWork {
		for how, want := range map[objectstest.How]map[string]string{
			objectstest.KillBefore: after[n], objectstest.KillAfter: after[n+1],
		} {
			dir := t.TempDir()
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), killedIn+"="+dir, fmt.Sprint(killedAt, "=", n, " ", int(how)))
			err := child.Run()
			if !objectstest.Killed(err) {
				t.Fatalf("call %d: the process ended by %v", n, err)
			}
			if has := contents(t, must(t)(openDir(dir))); fmt.Sprint(has) != fmt.Sprint(want) {
				t.Errorf("killed at call %d, %d: it has %v, want %v", n, how, has, want)
			}
		}
	}
}
