package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/quire-db/quire/backup/archive"
)

// keys are those for which an archive is encrypted, and that open it.
type keys struct {
	to    []string // recipients
	files []string // of identities
}

func (k *keys) recipientFlag(c *cobra.Command) {
	c.Flags().StringArrayVar(&k.to, "recipient", nil, "encrypt what is put to this age `RECIPIENT`, age1...; may be repeated")
	_ = c.RegisterFlagCompletionFunc("recipient", cobra.NoFileCompletions)
}

// identityEnv names a file of identities for those who do not name one.
const identityEnv = "QUIRE_AGE_IDENTITY"

func (k *keys) identityFlag(c *cobra.Command) {
	c.Flags().StringArrayVar(&k.files, "identity", nil, "open with the age identities in `FILE` (default $"+identityEnv+")")
}

func (k *keys) seal() (o archive.SealOptions, err error) {
	for _, text := range k.to {
		r, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return o, usagef("--recipient %q is no age recipient: %v", text, err)
		}
		o.Recipients = append(o.Recipients, r...)
	}
	return o, nil
}

func (k *keys) identities() (ids []age.Identity, err error) {
	files := k.files
	if env := os.Getenv(identityEnv); len(files) == 0 && env != "" {
		files = []string{env}
	}
	for _, name := range files {
		of, err := readIdentities(name)
		if err != nil {
			return nil, err
		}
		ids = append(ids, of...)
	}
	return ids, nil
}

func readIdentities(name string) ([]age.Identity, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read the age identities: %w", err)
	}
	ids, err := age.ParseIdentities(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("%s is no file of age identities, as age-keygen makes them: %w", name, err)
	}
	return ids, nil
}
