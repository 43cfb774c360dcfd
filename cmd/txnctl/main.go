// Command txnctl makes, fills, reads and checks Quire stores.
//
// txnctl help says what it can do, txnctl help json what its --json output
// means. Each command has a file of its own; app.go is what they share.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(newApp(os.Stdin, os.Stdout, os.Stderr).run(ctx, os.Args[1:]))
}
