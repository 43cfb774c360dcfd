package crashfs_test

import (
	"fmt"

	"github.com/quire-db/quire/internal/vfs/crashfs"
)

// A file is written and synced, then its directory is. Each line shows how many
// names a cut leaves after operation 0, 1 and so on.
func Example() {
	disk := crashfs.New()
	f, _ := disk.Create("/note")
	f.WriteAt([]byte("hello"), 0)
	f.Sync()
	disk.SyncDir("/")
	for _, model := range []crashfs.Model{crashfs.Ordered, crashfs.Posix} {
		for k := range disk.Ops() + 1 {
			names, _ := disk.Cut(k, model).ReadDir("/")
			fmt.Print(len(names), " ")
		}
		fmt.Println(model)
	}
	// Output:
	// 0 1 1 1 1 ordered
	// 0 0 0 0 1 posix
}
