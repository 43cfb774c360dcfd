package crash

import (
	"slices"
	"testing"

	"github.com/quire-db/quire/internal/vfs/crashfs"
)

// A heap file that a crash left, and that no record names, is gone before the
// manifest names others: a power cut in between would leave it below one that is
// known, where a file that is not known is refused.
func TestHookedLeftoverGoesBeforeOthersAreNamed(t *testing.T) {
	hooked(t)
	l := newLife(bay{"/leftover"}, crashfs.New(), 1)
	must(t, l.open())
	must(t, l.bursts())
	image := l.disk.Cut(l.disk.Ops(), crashfs.KillOnly)
	must(t, l.close())
	const name = store + "/heap/000000ff"
	f, err := image.Create(name)
	must(t, err)
	must(t, f.Close())
	begin := image.Ops()
	o, err := l.bay.open(image)
	must(t, err)
	must(t, o.close())

	log := image.Log()[begin:]
	gone := slices.IndexFunc(log, func(o crashfs.Op) bool { return o.Kind == crashfs.Remove && o.Name == name })
	anew := slices.IndexFunc(log, func(o crashfs.Op) bool { return o.Kind == crashfs.Rename && next(o) })
	named := anew + slices.IndexFunc(log[anew:], func(o crashfs.Op) bool { return o.Kind == crashfs.Write && next(o) })
	if gone < 0 || anew < 0 || named < anew || gone > named {
		t.Errorf("removed at operation %d, the manifest was written anew at %d and edited at %d", gone, anew, named)
	}
}
