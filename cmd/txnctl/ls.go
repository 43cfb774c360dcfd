package main

import (
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/backup"
	"github.com/quire-db/quire/recovery"
)

// volumeOutput is a volume, as ls and stat print it.
type volumeOutput struct {
	Name     string `json:"name" doc:"name of the volume; VOLUME@TAG of what a tag points to"`
	ID       string `json:"id" doc:"UUID of the volume, kept when it is renamed"`
	Bytes    int64  `json:"bytes" doc:"length of the file in it"`
	PageSize uint32 `json:"page_size" doc:"in bytes"`
	Pages    uint64 `json:"pages" doc:"size in pages"`
	Present  uint64 `json:"present" doc:"pages that hold something but zeros"`
	Sum      string `json:"sum" doc:"sum of the hashes of its pages; equal for equal content"`
	Changed  uint64 `json:"changed" doc:"LSN of the entry that changed it last"`
	Created  uint64 `json:"created" doc:"LSN of the entry that made it"`
	Changes  uint64 `json:"changes" doc:"entries that changed it"`
}

func volumeOf(s *pagestore.Snapshot, v pagestore.Volume) (volumeOutput, error) {
	length, err := backup.Length(s, v)
	return volumeOutput{
		Name: label(v), ID: v.ID.String(), Bytes: length, PageSize: v.Attrs.PageSize,
		Pages: v.Tree.Pages(), Present: v.Tree.Count(), Sum: v.Tree.Sum().String(),
		Changed: uint64(v.Changed), Created: uint64(v.Created), Changes: v.Seq,
	}, err
}

func newLsCommand(a *app) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "ls",
		Short: "List the volumes",
		Long: `List the volumes by name. Those whose names begin with a dot are listed with
--all only.`,
		Example: `  txnctl ls
  txnctl ls --json | jq -r .name`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return a.ls(all) },
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "also volumes whose names begin with a dot")
	return c
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") }

func (a *app) ls(all bool) error {
	t := newTable("NAME", ">SIZE", ">PAGES", ">PAGE SIZE", ">CHANGED BY LSN")
	err := a.withView(0, func(view *recovery.Viewed) error {
		for v, err := range view.Snapshot().Volumes() {
			if err != nil {
				return overtaken(view, err)
			}
			if hidden(v.Attrs.Name) && !all {
				continue
			}
			o, err := volumeOf(view.Snapshot(), v)
			if err != nil {
				return overtaken(view, err)
			}
			if err := a.print(o, func(io.Writer) { t.addVolume(o) }); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err != nil || a.json:
	case len(t.rows) == 0:
		a.note("No volumes.")
	default:
		t.print(a.out, a.bold)
	}
	return err
}

func (t *table) addVolume(o volumeOutput) {
	t.add(printable(o.Name), bytesText(o.Bytes), strconv.FormatUint(o.Present, 10), bytesText(int64(o.PageSize)), strconv.FormatUint(o.Changed, 10))
}
