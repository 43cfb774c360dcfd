package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/recovery"
)

func newStatCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "stat VOLUME",
		Short: "Show one volume",
		Long: `Show the volume with that name or UUID: size, pages, sum, and which entries
made it and changed it last.`,
		Example: `  txnctl stat notes
  txnctl stat notes --json | jq .changed`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeOnlyVolume,
		RunE:              func(_ *cobra.Command, args []string) error { return a.stat(args[0]) },
	}
}

func (a *app) stat(name string) error {
	return a.withView(0, func(view *recovery.Viewed) error {
		v, err := findVolume(view.Snapshot(), name)
		if err != nil {
			return overtaken(view, err)
		}
		o, err := volumeOf(view.Snapshot(), v)
		if err != nil {
			return overtaken(view, err)
		}
		return a.print(o, func(w io.Writer) { o.text(w, a.bold) })
	})
}

func (o volumeOutput) text(w io.Writer, name style) {
	printFacts(w, name,
		fact{"name", printable(o.Name)},
		fact{"id", o.ID},
		fact{"size", fmt.Sprintf("%s (%d bytes)", bytesText(o.Bytes), o.Bytes)},
		fact{"pages", fmt.Sprintf("%d of %s, %d not all zeros", o.Pages, bytesText(int64(o.PageSize)), o.Present)},
		fact{"sum", o.Sum},
		fact{"created", fmt.Sprintf("by LSN %d", o.Created)},
		fact{"changed", fmt.Sprintf("by LSN %d, %s in all", o.Changed, count(o.Changes, "change"))},
	)
}
