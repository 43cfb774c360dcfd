package pagestore_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/quire-db/quire/apply/pagestore/pagestoretest"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformanceOS(t *testing.T) {
	pagestoretest.Run(t, func(t testing.TB) (vfs.FS, string) { return vfs.OS(), t.TempDir() })
}

func TestConformanceCrashFS(t *testing.T) {
	pagestoretest.Run(t, func(t testing.TB) (vfs.FS, string) {
		disk := crashfs.New()
		if err := disk.Mkdir("/store"); err != nil {
			t.Fatal(err)
		}
		return disk, "/store"
	})
}
