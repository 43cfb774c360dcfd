package recovery_test

import (
	"testing"

	"github.com/quire-db/quire/tests/verifytest"
	"github.com/quire-db/quire/txn"
)

func TestVerifyFindsNothing(t *testing.T) {
	dir, b := build(t, 1, txn.Options{})
	b.mixed()
	want := b.now
	killed := b.kill(dir)
	for _, d := range []string{dir, killed} {
		before := fingerprint(t, d)
		rep := verifytest.Clean(t, d)
		t.Logf("%+v", rep)
		if rep.Slots.Leaked != 0 || rep.ClosedCleanly != (d == dir) || rep.Cut != nil || !rep.Clean {
			t.Errorf("%+v", rep)
		}
		if err := compare(t, d, want); err != nil {
			t.Error(err)
		}
		if fingerprint(t, d) != before {
			t.Error("looking changed the directory")
		}
	}
}
