{{/*
A certificate made by Helm, as JSON: `ca`, `cert`, `key`, `renewAfter` in seconds of Unix, and where it takes the place of
another, `formerCa`. What the Secret holds already is kept until a third of its days is left; without a cluster to look into, as
in `helm template`, each rendering makes another.
A list of the root, the Secret's name, and the names in the certificate.
*/}}
{{- define "consentd.selfMade" -}}
{{- $root := index . 0 -}}
{{- $names := index . 2 -}}
{{- $secret := default dict (lookup "v1" "Secret" $root.Release.Namespace (index . 1)) -}}
{{- $have := default dict $secret.data -}}
{{- $notes := default dict (default dict $secret.metadata).annotations -}}
{{- $renewAfter := int64 (default "0" (index $notes "consentd.io/renew-after")) -}}
{{- $sameNames := eq (default "" (index $notes "consentd.io/names")) (join "," $names) -}}
{{- if and (index $have "ca.crt") (index $have "tls.crt") (index $have "tls.key") $sameNames (gt $renewAfter (int64 (now | unixEpoch))) -}}
{{- dict "ca" (index $have "ca.crt" | b64dec) "cert" (index $have "tls.crt" | b64dec) "key" (index $have "tls.key" | b64dec) "renewAfter" (toString $renewAfter) | toJson -}}
{{- else -}}
{{- $days := int $root.Values.certificates.days -}}
{{- /* The authority's key is kept nowhere: it signs once. */ -}}
{{- $ca := genCAWithKey (printf "%s-ca" (index . 1)) $days (genPrivateKey "ecdsa") -}}
{{- $made := genSignedCertWithKey (index . 1) nil $names $days $ca (genPrivateKey "ecdsa") -}}
{{- $renewAfter = add (int64 (now | unixEpoch)) (div (mul $days 86400 2) 3) -}}
{{- $formerCa := default "" (index $have "ca.crt") | b64dec -}}
{{- dict "ca" $ca.Cert "cert" $made.Cert "key" $made.Key "renewAfter" (toString $renewAfter) "formerCa" $formerCa | toJson -}}
{{- end -}}
{{- end -}}

{{/*
The certificate of this release's NATS servers and its authority, made by Helm, as JSON: `ca`, `caKey`, `ends` of the authority in
seconds of Unix, `cert`, `key`, `renewAfter`. The authority is kept, other than that of the webhook: each server believes the others
by it while they take a new certificate one by one, and so do copies of it in the namespaces of sidecars.
A list of the root, the Secret of the authority as it is, and that of the certificate.
*/}}
{{- define "consentd.natsMade" -}}
{{- $root := index . 0 -}}
{{- $authority := default dict (index . 1) -}}
{{- $secret := default dict (index . 2) -}}
{{- $now := int64 (now | unixEpoch) -}}
{{- $days := int64 $root.Values.certificates.days -}}
{{- $name := include "consentd.natsTlsSecret" $root -}}
{{- $names := include "consentd.natsNames" $root | fromJsonArray -}}
{{- $held := default dict $authority.data -}}
{{- $ends := int64 (default "0" (index (default dict (default dict $authority.metadata).annotations) "consentd.io/ends")) -}}
{{- $ca := dict -}}
{{- if and (index $held "tls.crt") (index $held "tls.key") (gt $ends (add $now 86400)) -}}
{{- $ca = buildCustomCert (index $held "tls.crt") (index $held "tls.key") -}}
{{- else -}}
{{- $ca = genCAWithKey (printf "%s-ca" $name) (mul 10 $days | int) (genPrivateKey "ecdsa") -}}
{{- $ends = add $now (mul 10 $days 86400) -}}
{{- end -}}
{{- $have := default dict $secret.data -}}
{{- $notes := default dict (default dict $secret.metadata).annotations -}}
{{- $renewAfter := int64 (default "0" (index $notes "consentd.io/renew-after")) -}}
{{- $isOurs := eq (default "" (index $have "ca.crt")) (b64enc $ca.Cert) -}}
{{- $sameNames := eq (default "" (index $notes "consentd.io/names")) (join "," $names) -}}
{{- $made := dict "ca" $ca.Cert "caKey" $ca.Key "ends" (toString $ends) -}}
{{- if and (index $have "tls.crt") (index $have "tls.key") $isOurs $sameNames (gt $renewAfter $now) -}}
{{- merge $made (dict "cert" (index $have "tls.crt" | b64dec) "key" (index $have "tls.key" | b64dec) "renewAfter" (toString $renewAfter)) | toJson -}}
{{- else -}}
{{- /* None outlives its authority. */ -}}
{{- $days = min $days (div (sub $ends $now) 86400) -}}
{{- $signed := genSignedCertWithKey $name nil $names (int $days) $ca (genPrivateKey "ecdsa") -}}
{{- merge $made (dict "cert" $signed.Cert "key" $signed.Key "renewAfter" (toString (add $now (div (mul $days 86400 2) 3)))) | toJson -}}
{{- end -}}
{{- end -}}

{{/* The Secret of a certificate made by Helm: a list of the root, the part, the Secret's name, the names, and the certificate. */}}
{{- define "consentd.selfMadeSecret" -}}
{{- $root := index . 0 -}}
{{- $made := index . 4 -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "consentd.metadata" (list $root (index . 1) (index . 2)) | nindent 2 }}
  annotations:
    consentd.io/names: {{ join "," (index . 3) | quote }}
    consentd.io/renew-after: {{ $made.renewAfter | quote }}
type: kubernetes.io/tls
data:
  ca.crt: {{ $made.ca | b64enc }}
  tls.crt: {{ $made.cert | b64enc }}
  tls.key: {{ $made.key | b64enc }}
{{- end -}}

{{/* The authority of this release, where cert-manager is told no other. */}}
{{- define "consentd.issuerName" -}}
{{- default (printf "%s-ca" (include "consentd.fullname" .)) .Values.certificates.issuer.name -}}
{{- end -}}

{{/* A certificate by cert-manager: a list of the root, the part, the Secret's name, and the names. */}}
{{- define "consentd.certificate" -}}
{{- $root := index . 0 -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  {{- include "consentd.metadata" (list $root (index . 1) (index . 2)) | nindent 2 }}
spec:
  secretName: {{ index . 2 }}
  dnsNames:
    {{- toYaml (index . 3) | nindent 4 }}
  usages: [digital signature, server auth, client auth]
  privateKey:
    algorithm: ECDSA
    size: 256
    # A new certificate has a new key.
    rotationPolicy: Always
  issuerRef:
    name: {{ include "consentd.issuerName" $root }}
    {{- if $root.Values.certificates.issuer.name }}
    kind: {{ $root.Values.certificates.issuer.kind }}
    group: {{ $root.Values.certificates.issuer.group }}
    {{- else }}
    kind: Issuer
    group: cert-manager.io
    {{- end }}
{{- end -}}

{{/* The Secret with the certificate of the webhook or of the service. */}}
{{- define "consentd.tlsSecret" -}}
{{- if eq .Values.certificates.kind "secret" -}}
{{- .Values.certificates.secret -}}
{{- else -}}
{{- printf "%s-tls" (include "consentd.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the certificate of the NATS servers. */}}
{{- define "consentd.natsTlsSecret" -}}
{{- default (printf "%s-nats-tls" (include "consentd.fullname" .)) .Values.nats.tlsSecret -}}
{{- end -}}

{{/* The Secret with the authority of a NATS whose certificate Helm makes. No pod mounts it. */}}
{{- define "consentd.natsAuthoritySecret" -}}
{{- printf "%s-nats-ca" (include "consentd.fullname" .) -}}
{{- end -}}

{{/* The names of the NATS servers, as a JSON list. */}}
{{- define "consentd.natsNames" -}}
{{- $service := include "consentd.partName" (list . "nats") -}}
{{- $peers := printf "*.%s-peers.%s.svc" $service .Release.Namespace -}}
{{- concat (include "consentd.serviceNames" (list . $service) | fromJsonArray) (list $peers (printf "%s.%s" $peers .Values.clusterDomain)) | toJson -}}
{{- end -}}
