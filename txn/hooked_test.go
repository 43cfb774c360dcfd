package txn_test

import (
	"testing"

	"github.com/quire-db/quire/internal/vfs/tidwallfs"
)

// TestAppendFails runs the tests that fail the library's own writes, in a build
// that has a disk beneath it.
func TestAppendFails(t *testing.T) {
	if tidwallfs.Hooked || testing.Short() {
		t.Skip("builds the package anew")
	}
	cmd, err := tidwallfs.Command("..", t.TempDir(), "-run", "TestHooked", "./txn")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
