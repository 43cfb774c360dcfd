//go:build !crashfs

package tidwallfs

import "github.com/quire-db/quire/internal/vfs"

// Hooked reports whether the library beneath this program is the hooked one.
const Hooked = false

// Mount puts what the library does to prefix and below on disk, until unmount
// is called. It panics in a program that is not Hooked.
func Mount(prefix string, disk vfs.FS) (unmount func()) {
	panic("tidwallfs: Mount(" + prefix + ") in a program built with the original library; use Command")
}
