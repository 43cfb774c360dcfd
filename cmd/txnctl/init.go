package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// initOutput is what init prints.
type initOutput struct {
	Dir      string `json:"dir" doc:"directory of the store"`
	Store    string `json:"store" doc:"UUID of the store"`
	Timeline string `json:"timeline" doc:"UUID of its timeline"`
	LSN      uint64 `json:"lsn" doc:"of the entry that began the timeline"`
}

func newInitCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Make an empty store",
		Long: `Make an empty store. Its directory may exist if it is empty; the one above
must exist. A store that is there already is an error and stays as it is.`,
		Example: `  txnctl init --dir /srv/store`,
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return a.init() },
	}
}

func (a *app) init() error {
	if err := a.checkFree(); err != nil {
		return err
	}
	return a.withStore(txn.Options{Create: true}, func(m *txn.Manager, _ *recovery.Report) error {
		st := m.Stats()
		o := initOutput{a.dir, st.Pages.Store.String(), st.Head.Timeline.String(), uint64(st.Published)}
		return a.print(o, func(w io.Writer) { fmt.Fprintf(w, "Made an empty store in %s.\n", a.dir) })
	})
}

// checkFree makes sure that nothing else has the place; what an init left that
// was interrupted does not count.
func (a *app) checkFree() error {
	dir, err := a.storeDir()
	if err != nil {
		return err
	}
	if a.hasStore(dir) {
		return fmt.Errorf("there is a store in %s already; it was left as it is", dir)
	}
	if _, err := recovery.Examine(a.fs, dir); errors.Is(err, wal.ErrCorrupt) {
		return fmt.Errorf("%s is not empty; it was left as it is", dir)
	}
	return nil
}
