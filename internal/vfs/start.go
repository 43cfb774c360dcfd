package vfs

// Wrapper is a File around another one that leaves its write-out alone. Without
// Unwrap StartSync and WriteOut do nothing for it.
type Wrapper interface{ Unwrap() File }

func innermost(f File) File {
	for {
		w, ok := f.(Wrapper)
		if !ok {
			return f
		}
		f = w.Unwrap()
	}
}

// starter is a File that can be told of a Sync that is to come.
type starter interface{ startSync() }

// StartSync lets the disk begin to write what a Sync of f will wait for, so
// that two files that are synced one after the other take little longer than
// one. It promises nothing and does nothing on disks that cannot.
func StartSync(f File) {
	if s, ok := innermost(f).(starter); ok {
		s.startSync()
	}
}

// outWriter is a File that can be asked to write a part of it now.
type outWriter interface {
	writeOut(off, n int64) error
}

// WriteOut has the disk write n bytes of f from off and waits for it, so that
// who writes much in the background leaves no pile for the next Sync of
// somebody who waits. It makes nothing durable. An error is one that a Sync
// would have reported, and no Sync will again: it counts as a failed Sync. It
// does nothing on disks that cannot.
func WriteOut(f File, off, n int64) error {
	if w, ok := innermost(f).(outWriter); ok {
		return w.writeOut(off, n)
	}
	return nil
}
