//go:build ignore

// Command hook writes tidwall/wal with another disk beneath it to a directory
// and prints the module file that uses it: for go vet of the crashfs build.
//
//	go run .ci/hook.go DIR
package main

import (
	"fmt"
	"os"

	"github.com/quire-db/quire/internal/vfs/tidwallfs"
)

func main() {
	modfile, err := tidwallfs.Generate(".", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(modfile)
}
