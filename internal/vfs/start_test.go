package vfs

import (
	"errors"
	"testing"
)

// early is a disk's file that can begin to write before it is synced.
type early struct {
	File
	started, written int
}

var errOut = errors.New("written out")

func (e *early) startSync()                  { e.started++ }
func (e *early) writeOut(off, n int64) error { e.written += int(n); return errOut }

// counting is somebody's wrapper; opaque is one that hides what is in it.
type counting struct{ File }

func (c counting) Unwrap() File { return c.File }

type opaque struct{ File }

func TestWriteOutReachesTheDiskThroughWrappers(t *testing.T) {
	e := &early{}
	for _, f := range []File{e, counting{e}, counting{counting{e}}} {
		e.started, e.written = 0, 0
		StartSync(f)
		if err := WriteOut(f, 0, 10); e.started != 1 || e.written != 10 || !errors.Is(err, errOut) {
			t.Errorf("%T: started %d times, wrote %d bytes, error %v", f, e.started, e.written, err)
		}
	}
	e.started = 0
	StartSync(opaque{e})
	if err := WriteOut(opaque{e}, 0, 10); err != nil || e.started != 0 {
		t.Errorf("a wrapper without Unwrap: started %d times, error %v; want nothing done", e.started, err)
	}
}
