package wal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDiscardLeavesNothing: neither the directory nor a descriptor.
func TestDiscardLeavesNothing(t *testing.T) {
	const descriptors = "/proc/self/fd"
	r := newRig(t)
	for range 5 {
		g, err := r.log.Prepare(0)
		r.must(err)
		r.must(r.log.Discard(g))
		left, err := List(r.fs, r.dir)
		r.must(err)
		if len(left) != 1 {
			t.Fatalf("generations %v are left", left)
		}
	}
	names, err := os.ReadDir(descriptors)
	r.must(err)
	open := 0
	for _, n := range names {
		to, _ := os.Readlink(filepath.Join(descriptors, n.Name()))
		if strings.HasPrefix(to, r.dir) {
			open++
		}
	}
	if open != 2 { // ours and the library's, of the generation that is in use
		t.Errorf("%d files are open", open)
	}
}
