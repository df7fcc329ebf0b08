{{/* The configuration file of a consentd that answers by itself. */}}
{{- define "consentd.serverSettings" -}}
{{- include "consentd.toml" (include "consentd.config" . | fromJson) | trim }}
{{ end -}}

{{/*
The Secret of keys as a volume. The authority of this release's NATS stands beside them, under the name that it has in pods
elsewhere. A list of the root and the Secret's name.
*/}}
{{- define "consentd.keysVolume" -}}
{{- $root := index . 0 -}}
name: consentd-keys
projected:
  defaultMode: 288 # 0440
  sources:
    {{- with index . 1 }}
    - secret:
        name: {{ . }}
    {{- end }}
    {{- if and $root.Values.nats.enabled (not $root.Values.allow.plaintextLedger) }}
    - secret:
        name: {{ include "consentd.natsTlsSecret" $root }}
        items:
          - {key: ca.crt, path: nats-ca.crt}
    {{- end }}
{{- end -}}

{{/* A pod's template for a consentd that answers by itself: a list of the root and the data's volume, or nothing for a claim's. */}}
{{- define "consentd.serverPod" -}}
{{- $root := index . 0 -}}
{{- $data := index . 1 -}}
{{- $hasKeys := or $root.Values.keys.secret $root.Values.nats.enabled -}}
{{- $hasTls := ne $root.Values.certificates.kind "none" -}}
metadata:
  {{- include "consentd.podMetadata" (list $root "server" (include "consentd.serverSettings" $root)) | nindent 2 }}
spec:
  {{- include "consentd.podCommon" (list $root "server") | nindent 2 }}
  {{- if eq $root.Values.mode "deployment" }}
  {{- include "consentd.spread" (list $root "server") | nindent 2 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
  containers:
    - name: consentd
      image: {{ include "consentd.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [serve, --config=/etc/consentd/config/consentd.toml]
      ports:
        - name: questions
          containerPort: 7311
        - name: admin
          containerPort: 7312
      # It denies until its copy of the ledger is there, however long that takes; so life and readiness are apart.
      startupProbe:
        httpGet: {path: /livez, port: admin}
        periodSeconds: 1
        timeoutSeconds: 5
        failureThreshold: 60
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: 2
      livenessProbe:
        httpGet: {path: /livez, port: admin}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      resources:
        {{- toYaml $root.Values.resources | nindent 8 }}
      securityContext:
        {{- include "consentd.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - {name: consentd-data, mountPath: /var/lib/consentd}
        - {name: config, mountPath: /etc/consentd/config, readOnly: true}
        {{- if $hasKeys }}
        - {name: consentd-keys, mountPath: /etc/consentd/keys, readOnly: true}
        {{- end }}
        {{- if $hasTls }}
        - {name: tls, mountPath: /etc/consentd/tls, readOnly: true}
        {{- end }}
  volumes:
    {{- with $data }}
    - {{ toYaml . | nindent 6 | trim }}
    {{- end }}
    - name: config
      configMap:
        name: {{ include "consentd.partName" (list $root "server") }}
    {{- if $hasKeys }}
    - {{ include "consentd.keysVolume" (list $root $root.Values.keys.secret) | nindent 6 | trim }}
    {{- end }}
    {{- if $hasTls }}
    - name: tls
      secret:
        secretName: {{ include "consentd.tlsSecret" $root }}
        defaultMode: 288 # 0440
    {{- end }}
{{- end -}}
