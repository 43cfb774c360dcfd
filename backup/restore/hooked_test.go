package restore_test

import (
	"testing"

	"github.com/quire-db/quire/internal/vfs/tidwallfs"
)

// TestPowerCuts runs the tests that cut the power, in a build in which the log's library,
// too, writes to a disk in memory.
func TestPowerCuts(t *testing.T) {
	if tidwallfs.Hooked || testing.Short() {
		t.Skip("builds the package anew")
	}
	t.Parallel()
	cmd, err := tidwallfs.Command("../..", t.TempDir(), "-count=1", "-v", "-timeout=30m", "-run", "TestHooked", "./backup/restore")
	must(t, err)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	must(t, err)
}
