package pagestore_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/quire-db/quire/apply/pagestore/pagestoretest"
	"github.com/quire-db/quire/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformanceOS(t *testing.T) {
	pagestoretest.Run(t, func(t testing.TB) (vfs.FS, string) { return vfs.OS(), t.TempDir() })
}

func TestConformanceCrashFS(t *testing.T) {
	pagestoretest.Run(t, memory)
}
