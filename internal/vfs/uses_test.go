package vfs

import (
	"testing"
	"testing/synctest"
)

// TestCloseWaitsForUses: close returns after the last use ended and no sooner,
// and lets none begin.
func TestCloseWaitsForUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var u uses
		u.init()
		closed := false
		for range 2 {
			if !u.begin() {
				t.Fatal("no use may begin")
			}
		}
		go func() { closed = u.close() }()
		for range 2 {
			synctest.Wait()
			if closed || u.begin() {
				t.Fatal("closed beneath a use, or a use began after close")
			}
			u.end()
		}
		synctest.Wait()
		if !closed || u.close() || u.begin() {
			t.Error("after the last use: close did not return, or can be repeated, or a use began")
		}
	})
}
