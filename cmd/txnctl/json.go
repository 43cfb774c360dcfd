package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quire-db/quire/internal/bench"
	"github.com/quire-db/quire/internal/demo"
)

// outputs are the commands that print data and what they print.
var outputs = []struct {
	command string
	value   any
}{
	{"init", initOutput{}},
	{"import", importOutput{}},
	{"export", exportOutput{}},
	{"fork", forkOutput{}},
	{"tag add, mv and rm", tagChange{}},
	{"tag ls (one for each tag)", tagOutput{}},
	{"reset", resetOutput{}},
	{"ls (one for each volume), stat", volumeOutput{}},
	{"log (one for each entry)", entryOutput{}},
	{"show", showOutput{}},
	{"cat", catOutput{}},
	{"diff (one for each run of pages)", diffRun{}},
	{"diff --stat", diffStat{}},
	{"graph", graphOutput{}},
	{"watch (one for each event)", eventOutput{}},
	{"status", statusOutput{}},
	{"hold ls (one for each that holds)", holdOutput{}},
	{"consumer ls (one for each consumer)", consumerOutput{}},
	{"checkpoint", checkpointOutput{}},
	{"gc", gcOutput{}},
	{"follow (one each time it has caught up)", followOutput{}},
	{"promote", promoteOutput{}},
	{"recovery status", recoveryOutput{}},
	{"recovery verify", verifyOutput{}},
	{"recovery replay", replayOutput{}},
	{"recovery repair", repairOutput{}},
	{"backup create", createOutput{}},
	{"backup archive (one each time it has shipped something)", archiveOutput{}},
	{"backup ls", archiveListing{}},
	{"backup verify", archiveReport{}},
	{"backup prune", pruneOutput{}},
	{"restore", restoreOutput{}},
	{"demo", demo.Report{}},
	{"bench commit", bench.Result{}},
}

const jsonIntro = `With --json a command prints its data as JSON on standard output: one object,
on one line; ls, tag ls, log, diff, watch, hold ls and consumer ls one for each
volume, tag, entry, run of pages, event, hold and consumer; follow one each time it
has caught up, and backup archive each time it has shipped something. Errors and
notes go to standard error as text, exit codes are the same.

These fields stay as they are. New ones may be added: ignore what you do not
know. LSNs, counts and sizes are integers below 2^53 in practice; UUIDs, hashes
and sums are strings.
`

// newJSONTopic is a page of the help, not a command.
func newJSONTopic() *cobra.Command {
	return &cobra.Command{Use: "json", Short: "What the output of --json means", Long: jsonHelp()}
}

// jsonHelp describes the outputs by the tags of their fields.
func jsonHelp() string {
	var b strings.Builder
	b.WriteString(jsonIntro)
	for _, o := range outputs {
		t := newTable("", "", "")
		describe(t, "", reflect.TypeOf(o.value))
		fmt.Fprintf(&b, "\n%s\n", o.command)
		for _, r := range t.rows {
			fmt.Fprintf(&b, "  %s\n", t.line(r))
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// describe adds a line for each field of an output, and for those below it.
func describe(t *table, prefix string, typ reflect.Type) {
	for _, f := range reflect.VisibleFields(typ) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			continue
		}
		kind, below := jsonType(f.Type)
		t.add(prefix+name, kind, f.Tag.Get("doc"))
		if below != nil {
			describe(t, prefix+name+strings.TrimPrefix(kind, "object")+".", below)
		}
	}
}

// jsonType is what a field is in JSON, and the type of the objects in it.
func jsonType(t reflect.Type) (kind string, below reflect.Type) {
	switch t.Kind() {
	case reflect.String:
		return "string", nil
	case reflect.Bool:
		return "boolean", nil
	case reflect.Float64:
		return "number", nil
	case reflect.Pointer, reflect.Struct:
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		return "object", t
	case reflect.Slice, reflect.Array:
		return jsonArray(t.Elem())
	}
	return "integer", nil
}

func jsonArray(of reflect.Type) (string, reflect.Type) {
	switch kind, below := jsonType(of); {
	case of.Kind() == reflect.Uint8:
		return "string", nil
	case below != nil:
		return "object[]", below
	default:
		return kind + "[]", nil
	}
}
