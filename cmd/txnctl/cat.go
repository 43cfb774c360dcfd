package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// catOutput is one page.
type catOutput struct {
	Volume  string `json:"volume" doc:"name of the volume, or VOLUME@TAG"`
	LSN     uint64 `json:"lsn" doc:"after whose entry"`
	Page    uint64 `json:"page" doc:"number of the page"`
	Present bool   `json:"present" doc:"whether it is there; if not it reads as zeros"`
	Born    uint64 `json:"born" doc:"LSN of the entry that wrote it; 0 when it is not there"`
	Hash    string `json:"hash" doc:"of its number and bytes; empty when it is not there"`
	Bytes   string `json:"bytes" doc:"content in hexadecimal"`
}

func newCatCommand(a *app) *cobra.Command {
	var at lsnFlag
	c := &cobra.Command{
		Use:   "cat VOLUME PAGE",
		Short: "Show one page in hexadecimal",
		Long: `Print the bytes of a page, verified, as hexadecimal and as text. Pages are
numbered from 0. With --at LSN it is the page as it was after that entry; the
store has the states from its last checkpoint on (see status).`,
		Example: `  txnctl cat notes 0
  txnctl cat notes 3 --at 7
  txnctl cat notes@v1 3
  txnctl cat notes 0 --json | jq -r .bytes | xxd -r -p`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeOnlyVolume,
		RunE: func(_ *cobra.Command, args []string) error {
			no, err := strconv.ParseUint(args[1], 10, 64)
			if err != nil {
				return usagef("PAGE is a number from 0 on, not %q", args[1])
			}
			return a.cat(args[0], no, wal.LSN(at))
		},
	}
	c.Flags().Var(&at, "at", "the page after the entry with this `LSN` (default the newest)")
	return c
}

func (a *app) cat(name string, no uint64, at wal.LSN) error {
	return a.withView(at, func(view *recovery.Viewed) error {
		v, err := findVolume(view.Snapshot(), name)
		if err != nil {
			return overtaken(view, err)
		}
		if no >= v.Tree.Pages() {
			return fmt.Errorf("%s has %s, numbered from 0: there is no page %d", printable(v.Attrs.Name), count(v.Tree.Pages(), "page"), no)
		}
		e, ok, err := v.Lookup(no)
		if err != nil {
			return overtaken(view, err)
		}
		data := make([]byte, v.Attrs.PageSize)
		if err := v.Read(no, data); err != nil {
			return overtaken(view, err)
		}
		o := catOutput{Volume: label(v), LSN: uint64(stateLSN(view.Snapshot(), v)), Page: no, Present: ok, Bytes: hex.EncodeToString(data)}
		if ok {
			o.Born, o.Hash = uint64(e.Birth), e.Hash.String()
		}
		return a.print(o, func(w io.Writer) { o.text(w, data) })
	})
}

func (o catOutput) text(w io.Writer, data []byte) {
	if !o.Present {
		fmt.Fprintf(w, "Page %d of %s is not there at LSN %d: it reads as %s of zeros.\n", o.Page, printable(o.Volume), o.LSN, bytesText(int64(len(data))))
		return
	}
	fmt.Fprint(w, hex.Dump(data))
}
